"""Draw docs/noise.svg from the record of the noise experiment: ``python tools/noise_figure.py``."""

import io
import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
RECORD, FIGURE = ROOT / "docs/records/noise-small.json", ROOT / "docs/noise.svg"
BLUE, RED, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#6a717a"


def draw(record: dict[str, Any]) -> str:
    """Return the figure as SVG text; equal records give equal text."""
    networks = [about for about in record["defenses"] if about["code"] is not None]
    settings = {"svg.hashsalt": "noise", "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(9, 7), layout="constrained")
        (logits, flips), (error, accuracy) = figure.subplots(2, 2)
        phis = [float(about["name"].removeprefix("phi ")) for about in networks]
        places = list(range(len(phis)))
        for axes, title in (
            (logits, "How far logits lie from the threshold"),
            (flips, "Bits of the code that change"),
            (error, "Reconstruction error (PSNR, clean images)"),
            (accuracy, "Accuracy within 8/255"),
        ):
            axes.set_title(title, loc="left", fontsize=10)
            axes.set_xticks(places, [f"{phi:g}" for phi in phis])
            axes.set_xlabel("phi of the training")
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color="#e4e2dd")
        _draw_logits(logits, networks, places, phis)
        _draw_flips(flips, networks, places)
        _draw_error(error, networks, places, phis)
        _draw_accuracy(accuracy, record, networks, places)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="white")
    return buffer.getvalue()


def _draw_logits(axes: Any, networks: list[dict], places: list[int], phis: list[float]) -> None:
    quantiles = [
        dict(zip(n["code"]["quantiles"], n["code"]["abs_z_quantiles"], strict=True))
        for n in networks
    ]
    low, middle, high = ([q[share] for q in quantiles] for share in (0.05, 0.5, 0.9))
    axes.fill_between(places, low, high, color=BLUE, alpha=0.15, label="5 % to 90 %")
    axes.plot(places, middle, "o-", color=BLUE, label="median of |z|")
    axes.plot(places[1:], phis[1:], "--", color=GREY, label="phi")
    axes.set_yscale("log")
    axes.legend(frameon=False)


def _draw_flips(axes: Any, networks: list[dict], places: list[int]) -> None:
    for change, style, label in (
        ("bim", "o-", "BIM, made on the classifier"),
        ("random", "s--", "plus or minus 8/255 at random"),
    ):
        shares = [
            100 * flip["share"]
            for network in networks
            for flip in network["code"]["flips"]
            if (flip["change"], flip["eps"]) == (change, 8)
        ]
        axes.plot(places, shares, style, color=RED if change == "bim" else GREY, label=label)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("%")
    axes.legend(frameon=False)


def _draw_error(axes: Any, networks: list[dict], places: list[int], phis: list[float]) -> None:
    """Without noise the image is lost: on an axis with that all others would look alike."""
    ratios = [network["psnr"] for network in networks]
    axes.plot(places[1:], ratios[1:], "o-", color=BLUE)
    axes.set_xlim(-0.3, places[-1] + 0.3)
    axes.set_ylim(min(ratios[1:]) - 1, max(ratios[1:]) + 0.5)
    axes.annotate(
        f"phi {phis[0]:g}: {ratios[0]:.1f} dB",
        (0, 0),
        (0, 40),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="left",
        arrowprops={"arrowstyle": "->", "color": GREY},
    )
    axes.set_ylabel("dB")


def _draw_accuracy(axes: Any, record: dict, networks: list[dict], places: list[int]) -> None:
    for threat, attack, color, label in (
        ("clean", None, GREEN, "clean"),
        ("oblivious", "bim", BLUE, "BIM, oblivious"),
        ("adaptive", "pgd", RED, "adaptive"),
    ):
        rows = [
            row
            for network in networks
            for row in record["rows"]
            if (row["defense"], row["threat"], row["attack"]) == (network["name"], threat, attack)
            and row["eps"] in (None, 8)
        ]
        middle = [100 * row["accuracy"] for row in rows]
        below = [m - 100 * row["interval"][0] for m, row in zip(middle, rows, strict=True)]
        above = [100 * row["interval"][1] - m for m, row in zip(middle, rows, strict=True)]
        axes.errorbar(places, middle, [below, above], fmt="o-", capsize=3, color=color, label=label)
        bare = next(
            row["accuracy"]
            for row in record["rows"]
            if (row["defense"], row["threat"], row["attack"]) == ("none", threat, attack)
            and row["eps"] in (None, 8)
        )
        axes.axhline(100 * bare, color=color, linestyle=":", linewidth=1)
    axes.plot([], [], ":", color=GREY, label="no purifier")
    axes.set_ylim(0, 100)
    axes.set_ylabel("%")
    axes.legend(frameon=False, loc="lower right", ncols=2, fontsize=8)


if __name__ == "__main__":
    FIGURE.write_text(draw(json.loads(RECORD.read_text())))
