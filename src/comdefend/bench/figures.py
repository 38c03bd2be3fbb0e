"""Figures of a benchmark, as SVG text: what an image costs, against its area and the batch."""

from collections.abc import Callable
from typing import Any

from comdefend.bench.record import Record, Row
from comdefend.report.drawing import COLORS, FAINT, add_legend, add_title, drawing, panels, svg

_MARKERS = "os^DvPX"


def cost_against_area(record: Record) -> str:
    """Draw the time of one image against its pixels, beside the line of equal cost a pixel."""
    curves = _curves(record, lambda row: row.size[0] == 1)
    with drawing("bench-area"):
        figure, (panel,) = panels(1, 1, (6.2, 3.6))
        add_title(panel, "An image alone: time against area", "dotted: the same time a pixel")
        for index, rows in enumerate(curves.values()):
            areas = [row.area for row in rows]
            panel.loglog(areas, [row.seconds for row in rows], **_style(index))
            # Through the largest image, where the fixed cost of a call weighs least.
            last = rows[-1].seconds / areas[-1]
            panel.loglog(areas, [last * area for area in areas], ":", color=FAINT, linewidth=0.8)
        rows = [row for found in curves.values() for row in found]
        sides = {row.area: "x".join(map(str, row.shape[2:])) for row in rows}
        panel.set_xticks(list(sides), list(sides.values()))
        panel.set_xlabel("pixels")
        panel.set_ylabel("seconds")
        _plain(panel)
        _name(figure, panel, curves)
        return svg(figure, "Time of one image against its area")


def cost_against_batch(record: Record) -> str:
    """Draw the time an image against the batch, for the smallest images."""
    rows = [row for row in _all(record) if row.kind == "purifier"]
    smallest = min((row.area for row in rows), default=0)
    curves = _curves(record, lambda row: row.area == smallest)
    with drawing("bench-batch"):
        figure, (panel,) = panels(1, 1, (6.2, 3.6))
        add_title(panel, "Images together: time an image against the batch", "")
        for index, found in enumerate(curves.values()):
            batches = [row.shape[0] for row in found]
            panel.loglog(batches, [1 / row.images_per_second for row in found], **_style(index))
        batches = sorted({row.shape[0] for found in curves.values() for row in found})
        panel.set_xticks(batches, [str(batch) for batch in batches])
        _plain(panel)
        sizes = {"x".join(map(str, row.shape[2:])) for row in rows if row.area == smallest}
        panel.set_xlabel(f"images of {', '.join(sorted(sizes))} in a batch")
        panel.set_ylabel("seconds an image")
        _name(figure, panel, curves)
        return svg(figure, "Time of an image against the number of images in the batch")


def _curves(record: Record, wanted: Callable[[Row], bool]) -> dict[str, list[Row]]:
    """Return the rows of purifiers, by weights and engine, from small to large.

    Where some engines were measured at more shapes than others, those alone are shown.
    """
    curves: dict[str, list[Row]] = {}
    for row in _all(record):
        if row.kind == "purifier" and wanted(row):
            curves.setdefault(f"{row.weights}, {row.engine_name}", []).append(row)
    most = max((len(rows) for rows in curves.values()), default=0)
    return {
        name: sorted(rows, key=lambda row: (row.shape[0], row.area))
        for name, rows in curves.items()
        if len(rows) == most
    }


def _all(record: Record) -> list[Row]:
    return [*record.rows, *record.sweep]


def _style(index: int) -> dict[str, Any]:
    return {
        "color": COLORS[index % len(COLORS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markersize": 4,
        "linewidth": 1.3,
    }


def _plain(panel: Any) -> None:
    """Write the times as decimals: as text, powers of ten would be raw formulas."""
    panel.minorticks_off()
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _name(figure: Any, panel: Any, curves: dict[str, list[Row]]) -> None:
    # The dotted lines between have no name.
    lines = [line for line in panel.get_lines() if line.get_marker() != "None"]
    add_legend(figure, list(zip(lines, curves, strict=True)))


FIGURES: dict[str, Callable[[Record], str]] = {
    "bench-area": cost_against_area,
    "bench-batch": cost_against_batch,
}
"""File name without suffix -> figure."""
