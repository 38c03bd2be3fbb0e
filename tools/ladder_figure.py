"""Draw the rate ladders from their records: ``python tools/ladder_figure.py``."""

import io
import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
# Records, and the figures made of them.
FIGURES = {
    ROOT / "docs/records/ladder-small.json": ROOT / "docs/ladder.svg",
    ROOT / "docs/records/fashion-mnist-ladder-small.json": ROOT / "docs/fashion-mnist-ladder.svg",
}
# From small perturbations to large ones.
COLORS = {2: "#56b4e9", 4: "#0072b2", 8: "#d55e00", 16: "#7b3294"}
GREEN, GREY = "#009e73", "#6a717a"
STYLES = ("o-", "s--")
# What the rows of a network for several rates are called, where there is one.
NESTED = "one network"


def draw(record: dict[str, Any]) -> str:
    """Return the figure as SVG text; equal records give equal text."""
    coded = [d for d in record["defenses"] if d["bpp"]]
    nested = [d for d in coded if d["name"].startswith(NESTED)]
    rungs = [d for d in coded if d["name"].endswith(" a pixel") and d not in nested]
    groups = {"a network each": rungs} | ({NESTED: nested} if nested else {})
    with matplotlib.rc_context({"svg.hashsalt": "ladder", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(11, 3.8), layout="constrained")
        fidelity, oblivious, adaptive = figure.subplots(1, 3)
        for axes, title in (
            (fidelity, "How faithful the purified image is"),
            (oblivious, "Accuracy, BIM on the bare classifier"),
            (adaptive, "Accuracy, attacked through the purifier"),
        ):
            axes.set_title(title, loc="left", fontsize=10)
            axes.set_xscale("log", base=2)
            rates = sorted(d["bpp"] for d in rungs)
            axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
            axes.minorticks_off()
            axes.set_xlabel("bits a pixel")
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color="#e4e2dd")
        _draw_fidelity(fidelity, record, groups)
        _draw_accuracy(oblivious, record, groups, "oblivious", "bim")
        _draw_accuracy(adaptive, record, groups, "adaptive", "pgd")
        # Beside the panels: inside, it would lie on the curves.
        lines, labels = oblivious.get_legend_handles_labels()
        figure.legend(
            lines, labels, frameon=False, fontsize=8, ncols=len(labels), loc="outside lower right"
        )
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="white")
    return buffer.getvalue()


def _sorted(defenses: list[dict]) -> list[dict]:
    return sorted(defenses, key=lambda d: d["bpp"])


def _draw_fidelity(axes: Any, record: dict, groups: dict[str, list[dict]]) -> None:
    for (label, defenses), style in zip(groups.items(), STYLES, strict=False):
        chosen = _sorted(defenses)
        axes.plot(
            [d["bpp"] for d in chosen], [d["psnr"] for d in chosen], style, color=GREEN, label=label
        )
    for eps, color in COLORS.items():
        psnr = _figure(record, "none", "oblivious", "bim", eps, "perturbation_psnr")
        axes.axhline(psnr, color=color, linestyle=":", linewidth=1)
        axes.annotate(
            f"BIM {eps}/255", (1, psnr), xycoords=("axes fraction", "data"), ha="right",
            va="bottom", color=color, fontsize=8,
        )  # fmt: skip
    axes.set_ylabel("PSNR, dB")
    axes.legend(frameon=False, loc="lower right")


def _draw_accuracy(
    axes: Any, record: dict, groups: dict[str, list[dict]], threat: str, attack: str
) -> None:
    curves: list[tuple[str, str | None, int | None, str, str]] = [
        ("clean", None, None, GREEN, "clean")
    ]
    curves += [(threat, attack, eps, color, f"{eps}/255") for eps, color in COLORS.items()]
    for kind, name, eps, color, label in curves:
        for defenses, style in zip(groups.values(), STYLES, strict=False):
            chosen = _sorted(defenses)
            heights = [
                100 * _figure(record, d["name"], kind, name, eps, "accuracy") for d in chosen
            ]
            shown = label if style == STYLES[0] else None
            axes.plot([d["bpp"] for d in chosen], heights, style, color=color, ms=4, label=shown)
        bare = 100 * _figure(record, "none", kind, name, eps, "accuracy")
        axes.axhline(bare, color=color, linestyle=":", linewidth=1)
    if NESTED in groups:
        axes.plot([], [], STYLES[1], color=GREY, ms=4, label=NESTED)
    axes.plot([], [], ":", color=GREY, label="no purifier")
    axes.set_ylim(0, 100)
    axes.set_ylabel("%")


def _figure(
    record: dict, defense: str, threat: str, attack: str | None, eps: float | None, field: str
) -> float:
    wanted = (defense, threat, attack, eps)
    for row in record["rows"]:
        if (row["defense"], row["threat"], row["attack"], row["eps"]) == wanted:
            return row[field]
    raise LookupError(f"the record has no row {wanted}")


if __name__ == "__main__":
    for path, picture in FIGURES.items():
        picture.write_text(draw(json.loads(path.read_text())))
