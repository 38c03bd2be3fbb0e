"""The figure and the page of a certification."""

from pathlib import Path

import altair as alt

from comdefend.certification.record import CertificationRecord, Level
from comdefend.common.atomic import atomic_write
from comdefend.evaluation.statistics import Share, share_of
from comdefend.report import pages
from comdefend.report.certified import level_rows, notes
from comdefend.report.charts import COLORS, GREY, Figure, Style, lines, look, percentages
from comdefend.report.figures import point_of
from comdefend.report.html import scripted

_CERTIFIED, _ATTACKED, _ALONE = "certified", "smoothed, attacked", "classifier alone, attacked"
_LOOKS = {
    _CERTIFIED: Style(COLORS[0], "circle"),
    _ATTACKED: Style(COLORS[1], "square"),
    _ALONE: Style(GREY, "diamond", (3, 2)),
}
_POINTS = 200
"""Radii at which the certified curve is drawn."""


def certified_curve(record: CertificationRecord) -> Figure:
    """Draw certified accuracy against the radius, beside accuracy under attack."""
    points: list[dict[str, str | float]] = [
        point_of(share, "y") | {"series": name, "x": level.radius, "radius": f"{level.radius:g}"}
        for level in record.levels
        for name, share in _shares(level).items()
    ]
    curve: list[dict[str, str | float]] = [
        {"series": _CERTIFIED, "x": radius, "y": 100 * _certified(record, radius).accuracy}
        for step in range(_POINTS + 1)
        for radius in (record.largest_radius * step / _POINTS,)
    ]
    curve += [point for point in points if point["series"] != _CERTIFIED]
    present = {name: style for name, style in _LOOKS.items() if name in _names(points)}
    looks = look(present)
    x = alt.X(
        "x:Q",
        title="L2 radius",
        scale=alt.Scale(domain=[0, record.largest_radius], nice=False),
        axis=alt.Axis(
            values=[level.radius for level in record.levels], labelOverlap="greedy", format=".4~f"
        ),
    )
    y = percentages(alt.Y)
    tips = {"series": "what", "radius": "radius", "accuracy": "accuracy", "images": "images"}
    title = alt.Title("Certified accuracy", subtitle=record.title)
    panel = lines(curve, looks, x, y, title, tips, points)
    asked, count = record.settings, len(record.attacked)
    under = (
        f" Squares and diamonds are accuracy under attack, on the first {count} of "
        f"{record.data.images} images."
    )
    return Figure(
        "Certified accuracy",
        "Share of images for which it is proven that no change of this L2 length alters the right "
        f"answer, at sigma {asked.sigma:g} with {asked.n:,} draws, which end at radius "
        f"{record.largest_radius:.3f}.{under if count else ''} Bars are 95 % intervals.",
        [panel.properties(width=420)],
    )


def write_certificate(record: CertificationRecord, path: Path) -> None:
    """Write the report of a certification as one HTML file, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    atomic_write(path, render_certificate(record).encode())


def render_certificate(record: CertificationRecord) -> str:
    """Return the report of a certification as HTML, by the same rules as `render_report`."""
    head, *rows = level_rows(record)
    return pages.render(
        "certified.html",
        record=record,
        head=head,
        rows=rows,
        notes=notes(record),
        figure=certified_curve(record),
        **scripted(draws=True),
    )


def _shares(level: Level) -> dict[str, Share]:
    found = {_CERTIFIED: level.certified, _ATTACKED: level.smoothed, _ALONE: level.bare}
    return {name: share for name, share in found.items() if share}


def _certified(record: CertificationRecord, radius: float) -> Share:
    return share_of("".join(str(int(image.withstands(radius))) for image in record.images))


def _names(points: list[dict[str, str | float]]) -> set[str | float]:
    return {point["series"] for point in points}
