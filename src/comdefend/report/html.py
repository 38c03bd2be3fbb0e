"""The report of an evaluation: one HTML file that needs nothing else."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import vl_convert
from markupsafe import Markup

from comdefend.common.atomic import atomic_write
from comdefend.evaluation.findings import SUBMISSIONS, Check
from comdefend.evaluation.panels import MAGNIFIED, Panel
from comdefend.evaluation.record import THREATS, Record, Row
from comdefend.report import charts, pages
from comdefend.report.figures import detection_roc, figures_of
from comdefend.report.markdown import corruptions
from comdefend.report.resubmission import RESUBMISSION_NOTE, resubmissions, times
from comdefend.report.summary import headline, summarize

_PICTURES = {
    "clean": "clean",
    "attacked": "attacked",
    "perturbation": f"perturbation ×{MAGNIFIED}",
    "purified": "attacked, then purified",
}


def write_report(record: Record, path: Path, panels: Sequence[Panel] = ()) -> None:
    """Write the report of an evaluation as one HTML file, whole or not at all.

    Args:
        record: The evaluation.
        path: The HTML file; its folder is made where needed.
        panels: Example images.

    Raises:
        OutputError: The file cannot be written.
    """
    atomic_write(path, render_report(record, panels).encode())


def render_report(record: Record, panels: Sequence[Panel] = ()) -> str:
    """Return the report of an evaluation as HTML.

    The page loads nothing. It runs one script, the one that draws its charts, which is named by its
    hash; without it there are pictures of them. Every text of the record is escaped.

    Args:
        record: The evaluation.
        panels: Example images.
    """
    summary = summarize(record)
    figures = figures_of(record)
    roc = detection_roc(record)
    return pages.render(
        "report.html",
        record=record,
        headline=headline(summary),
        summary=summary,
        threats=THREATS,
        checks=_sorted_checks(record),
        figures=figures,
        panels=panels,
        pictures=_PICTURES,
        corruptions=corruptions(record),
        resubmissions=resubmissions(record),
        submissions=[times(count) for count in SUBMISSIONS],
        resubmission_note=RESUBMISSION_NOTE,
        detection={d.name: d.detection for d in record.defenses if d.detection},
        roc=roc,
        rows=_sorted_rows(record),
        rounding=_rounding(record),
        **scripted(draws=bool(figures or roc)),
    )


def scripted(draws: bool) -> dict[str, Any]:
    """Return what a page needs to draw its charts, and its policy to know the script by.

    Args:
        draws: Whether it has charts; otherwise the script is empty.
    """
    script = _script() if draws else ""
    return {
        "themes": {"light": charts.theme(), "dark": charts.theme(dark=True)},
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


@cache
def _script() -> str:
    """Return Vega and what draws the charts with it, as one script."""
    draw = resources.files("comdefend.report") / "templates" / "charts.js"
    text = vl_convert.javascript_bundle(draw.read_text(encoding="utf-8"), charts.VEGA_LITE)
    # Within a string of the script this is the same; the page would end the script there.
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _sorted_checks(record: Record) -> dict[str, list[Check]]:
    states = {"violated": False, "unknown": None, "passed": True}
    return {
        state: [check for check in record.checks if check.passed is passed]
        for state, passed in states.items()
    }


def _sorted_rows(record: Record) -> list[Row]:
    names, threats = record.defense_names, ["clean", *THREATS]
    return sorted(
        record.results, key=lambda row: (names.index(row.defense), threats.index(row.threat))
    )


def _rounding(record: Record) -> tuple[float, Row] | None:
    """Return by how many points rounding to 8 bits changed an accuracy at most, and the row."""
    changes = [
        (100 * abs(row.accuracy - row.unrounded_accuracy), row)
        for row in record.results
        if row.unrounded_accuracy is not None
    ]
    return max(changes, key=lambda change: change[0], default=None)
