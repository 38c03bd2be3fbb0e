"""Figures of a benchmark: what an image costs, against its area and against the batch."""

import json
from collections.abc import Callable, Mapping

import altair as alt

from comdefend.bench.record import Record, Row
from comdefend.report.charts import GREY, Figure, Panel, Rows, lines, look, of, styles

_LOG = alt.Scale(type="log", nice=False, padding=12)


def cost_against_area(record: Record) -> Figure:
    """Draw the time of one image against its pixels, beside lines of equal time per pixel."""
    curves = _curves(record, lambda row: row.size[0] == 1)
    pairs = [(name, row) for name, rows in curves.items() for row in rows]
    sides = {row.area: "x".join(map(str, row.shape[2:])) for _, row in pairs}
    times = [{"series": name, "x": row.area, "y": row.seconds} for name, row in pairs]
    # Through the largest image, where the fixed cost of a call weighs least.
    rates = {name: rows[-1].seconds / rows[-1].area for name, rows in curves.items()}
    equal = [{"series": name, "x": row.area, "y": row.area * rates[name]} for name, row in pairs]
    title = alt.Title("An image alone: time against area", subtitle="dotted: equal time per pixel")
    panel = _panel(times, list(curves), "pixels", sides, "seconds", title)
    dotted = of(equal).mark_line(color=GREY, strokeDash=[1, 2], strokeWidth=1)
    dotted = dotted.encode(
        x=alt.X("x:Q", scale=_LOG), y=alt.Y("y:Q", scale=_LOG), detail="series:N"
    )
    return Figure("Time of one image against its area", "", [dotted + panel])


def cost_against_batch(record: Record) -> Figure:
    """Draw the time per image against the size of the batch, for the smallest images."""
    rows = [row for row in _all(record) if row.kind == "purifier"]
    smallest = min((row.area for row in rows), default=0)
    curves = _curves(record, lambda row: row.area == smallest)
    times = [
        {"series": name, "x": row.shape[0], "y": 1 / row.images_per_second}
        for name, found in curves.items()
        for row in found
    ]
    sizes = sorted({"x".join(map(str, row.shape[2:])) for row in rows if row.area == smallest})
    batches = {row.shape[0]: str(row.shape[0]) for found in curves.values() for row in found}
    x = f"images of {', '.join(sizes)} in a batch"
    title = alt.Title("Images together: time per image against the batch")
    panel = _panel(times, list(curves), x, batches, "seconds per image", title)
    return Figure("Time per image against the number of images in the batch", "", [panel])


def _panel(
    times: Rows, names: list[str], x: str, ticks: Mapping[int, str], y: str, title: alt.Title
) -> Panel:
    """Draw lines on logarithmic axes, with a named tick wherever there are points."""
    label = f"{json.dumps({str(value): name for value, name in ticks.items()})}[datum.value]"
    low, high = (end((row["y"] for row in times), default=1) for end in (min, max))
    tens = [10.0**power for power in range(-9, 6)]
    # At each 1, 2 and 5; where those are many, only at powers of ten.
    seconds = [step * ten for ten in tens for step in (1, 2, 5) if low <= step * ten <= high]
    return lines(
        times,
        look(styles(names)),
        alt.X("x:Q", title=x, scale=_LOG, axis=alt.Axis(values=sorted(ticks), labelExpr=label)),
        alt.Y(
            "y:Q",
            title=y,
            scale=_LOG,
            axis=alt.Axis(values=seconds if len(seconds) < 9 else tens, format="~r"),
        ),
        title,
    ).properties(width=460, height=260)


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


FIGURES: dict[str, Callable[[Record], Figure]] = {
    "bench-area": cost_against_area,
    "bench-batch": cost_against_batch,
}
"""File name without suffix -> figure."""
