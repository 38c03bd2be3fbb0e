"""The report of an evaluation: one HTML file that needs nothing else."""

import dataclasses
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from comdefend.common.atomic import atomic_write
from comdefend.evaluation import figures
from comdefend.evaluation.panels import MAGNIFIED
from comdefend.report.summary import (
    NOT_MEASURED,
    THREATS,
    Record,
    attack_name,
    corruptions,
    defense_names,
    headline,
    norm_name,
    percent,
    show,
    summarize,
)

_PICTURES = {
    "clean": "clean",
    "attacked": "attacked",
    "perturbation": f"perturbation ×{MAGNIFIED}",
    "purified": "attacked, then purified",
}


@dataclasses.dataclass(frozen=True)
class _Figure:
    """An SVG with the words around it."""

    title: str
    caption: str
    svg: Markup


def write_report(record: Record, path: Path) -> None:
    """Write the report of an evaluation as one self-contained HTML file.

    The page runs no script and loads nothing; every text of the record is escaped. The file is
    written whole or not at all.

    Args:
        record: As an evaluation makes it, or `comdefend.evaluation.record.load_record_file` reads
            it; example panels are shown where it holds any.
        path: The HTML file; its folder is made where needed.

    Raises:
        ExtraMissingError: Matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    atomic_write(path, render_report(record).encode())


def render_report(record: Record) -> str:
    """Return the report of an evaluation as HTML; see `write_report`."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "attack": attack_name, "norm": norm_name, "percent": percent, "share": show
    }  # fmt: skip
    source = resources.files("comdefend.report") / "report.html"
    template = environment.from_string(source.read_text(encoding="utf-8"))
    summary = summarize(record)
    return template.render(
        record=record,
        data=record.get("data", {}),
        headline=headline(summary),
        summary=summary,
        about={defense["name"]: defense for defense in record.get("defenses", [])},
        threats=THREATS,
        not_measured=NOT_MEASURED,
        checks=_sorted_checks(record),
        figures=_figures(record),
        panels=record.get("panels") or [],
        pictures=_PICTURES,
        corruptions=corruptions(record),
        detection=_detection(record),
        roc=_inline(figures.detection_roc(record)),
        rows=_sorted_rows(record),
        rounding=_rounding(record),
    )


def _inline(svg: str | None) -> Markup | None:
    # Our own SVG: Matplotlib has escaped the record's texts in it.
    return None if svg is None else Markup(svg)


def _sorted_checks(record: Record) -> dict[str, list[dict[str, Any]]]:
    checks = record.get("checks") or []
    states = {"violated": False, "unknown": None, "passed": True}
    return {
        state: [check for check in checks if check["passed"] is passed]
        for state, passed in states.items()
    }


def _figures(record: Record) -> list[_Figure]:
    norms = dict.fromkeys(row["norm"] for row in record["rows"] if row["eps"] is not None)
    found: list[tuple[str, str, str | None]] = []
    for norm in norms:
        attacks = figures.attacks_at_bounds(record, norm)
        worst = (
            "A point is the share of images that withstand every attack which this threat model "
            f"made at that eps, of {', '.join(attacks)}."
            if len(attacks) > 1
            else f"The attack is {attacks[0]}."
        )
        found.append(
            (
                f"Accuracy against the size of the perturbation, {norm_name(norm)}",
                f"{worst} At eps 0 stands the clean accuracy. Bars are 95 % intervals. Lines are "
                "moved apart sideways by a little where they would hide each other.",
                figures.accuracy_against_eps(record, norm),
            )
        )
    found.append(
        (
            "Attacks that look for the smallest perturbation",
            "They have no bound and stop where the classifier errs, so they show how much a small "
            "step back undoes. An attacker may always take a larger step.",
            figures.accuracy_without_eps(record),
        )
    )
    found.append(
        (
            "Class by class",
            "Percentage points by which a defence changes the accuracy of each class, against no "
            "defence under the same attack; in parentheses, images of the class. Few images a "
            "class mean that changes of several points are chance.",
            figures.class_changes(record),
        )
    )
    found.append(
        (
            "What is kept of clean images",
            "PSNR of what each defence makes of images that nobody attacked. Right of a dashed "
            "line a defence changes a clean image less than that perturbation does: what it keeps "
            "is as fine as the attack or finer. Left of it, it takes more from a clean image than "
            "the attack adds. Whether an attack survives, only the tables say.",
            figures.reconstruction(record),
        )
    )
    return [_Figure(title, caption, Markup(svg)) for title, caption, svg in found if svg]


def _detection(record: Record) -> dict[str, dict[str, Any]]:
    defenses = record.get("defenses", [])
    return {d["name"]: d["detection"] for d in defenses if d.get("detection")}


def _sorted_rows(record: Record) -> list[dict[str, Any]]:
    names, threats = defense_names(record), ["clean", *THREATS]
    return sorted(
        record["rows"],
        key=lambda row: (names.index(row["defense"]), threats.index(row["threat"])),
    )


def _rounding(record: Record) -> tuple[float, dict[str, Any]] | None:
    """The largest difference that rounding images to 8 bits made, in points, and its row."""
    rows = [row for row in record["rows"] if row.get("unrounded_accuracy") is not None]
    found = [(100 * abs(row["accuracy"] - row["unrounded_accuracy"]), row) for row in rows]
    return max(found, key=lambda pair: pair[0], default=None)
