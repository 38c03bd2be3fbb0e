"""How charts look, and the kinds of panels that figures are made of.

Panels are Altair's; vl-convert draws figures as SVG, and Vega draws them in a page. Series differ
in colour, shape and dashes: nothing depends on colour alone.
"""

import html
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import altair as alt
import vl_convert

VEGA_LITE = alt.SCHEMA_VERSION.rpartition(".")[0]
"""The version of Vega-Lite that charts are written for, such as ``v6.4``."""

INK = "#24292f"
# Readable on white and on black.
GREY = "#7d858e"
# Okabe and Ito's palette without its yellow, which is too weak for lines on white.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_SHAPES = (
    "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right", "triangle-left",
)  # fmt: skip
_DASHES = ((1, 0), (6, 2), (2, 2))
# In pixels: a plot, the same with its axes, and an entry of a legend.
PLOT, _PANEL, _ENTRY = (270, 205), 330, 230

Rows = Sequence[Mapping[str, Any]]
Panel = alt.LayerChart | alt.FacetChart
Look = dict[str, Any]
"""The encodings that tell series apart: ``color``, ``shape`` and ``strokeDash``."""


class Style(NamedTuple):
    """How one series looks."""

    color: str
    shape: str = "circle"
    dash: tuple[int, ...] = (1, 0)


@dataclass(frozen=True)
class Figure:
    """Panels beside each other, and the words around them.

    Attributes:
        title: What it shows.
        caption: How to read it.
        panels: From left to right, then from top to bottom.
        across: How many fit in a row.
        shared: Whether they have one legend, or each its own.
    """

    title: str
    caption: str
    panels: Sequence[Panel]
    across: int = 3
    shared: bool = True

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The chart as Vega-Lite, without its theme."""
        columns, resolve = min(self.across, len(self.panels)), dict[str, Any]()
        if not self.shared:
            resolve = dict.fromkeys(("color", "shape", "strokeDash"), "independent")
        with alt.theme.enable("none"), warnings.catch_warnings():
            # All panels have the same selection; one is enough.
            warnings.filterwarnings("ignore", "Automatically deduplicated selection")
            chart = alt.concat(*self.panels, columns=columns).resolve_scale(**resolve)
            # Altair has checked each part already, when it was made.
            return chart.to_dict(validate=False)

    @cached_property
    def svg(self) -> str:
        """The chart as SVG, its title for those who do not see it; equal charts give equal text."""
        config = theme(self.spec["columns"] * _PANEL)
        text = vl_convert.vegalite_to_svg(
            self.spec, vl_version=VEGA_LITE, config=config, allowed_base_urls=[]
        )
        return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(self.title)}"', 1)


def theme(width: float = 0, dark: bool = False) -> dict[str, Any]:
    """Return the configuration that all charts share.

    Args:
        width: Of the whole chart in pixels; legends have as many columns as fit, or one.
        dark: For a dark page.
    """
    ink, soft, line, grid = (
        ("#e6e3dc", "#a0a7ae", "#5b636b", "#33393f")
        if dark
        else (INK, "#5c646d", "#a9adb2", "#e8e6e1")
    )
    small = {"titleColor": soft, "titleFontSize": 11, "titleFontWeight": "normal"}
    return {
        "aria": False,
        # Room for a reader whose fonts are wider.
        "padding": 12,
        "background": None if dark else "white",
        # Equally wide, so that a layout computed with one font fits the others.
        "font": "Liberation Sans, Arial, Helvetica, sans-serif",
        "view": {"stroke": None},
        "axis": {
            "domainColor": line, "gridColor": grid, "labelColor": soft, "labelFontSize": 11,
            "labelPadding": 6, "titlePadding": 8, "ticks": False, **small,
        },
        "axisPoint": {"grid": False, "labelColor": ink},
        "axisBand": {"domain": False, "grid": False, "labelColor": ink, "labelLimit": 170},
        "legend": {
            "columns": max(1, int(width // _ENTRY)), "labelColor": ink, "labelFontSize": 11.5,
            "labelLimit": _ENTRY - 40, "orient": "bottom", "offset": 14, "columnPadding": 18,
            "symbolOpacity": 1, "symbolSize": 70, "symbolStrokeWidth": 0, **small,
        },
        "title": {
            "anchor": "start", "color": ink, "fontSize": 13, "fontWeight": 600, "frame": "group",
            "offset": 10, "subtitleColor": soft, "subtitleFontSize": 11, "subtitlePadding": 4,
        },
        "rule": {"color": ink},
        "text": {"color": ink, "fontSize": 10.5},
        "concat": {"spacing": 26},
    }  # fmt: skip


def styles(names: Sequence[str], bare: str | None = None) -> dict[str, Style]:
    """Return a style for each name, by its place; ``bare``, without a defence, is grey."""
    chosen = {name: Style(GREY, "circle", (3, 2)) for name in names if name == bare}
    for place, name in enumerate(name for name in names if name != bare):
        color, shape = COLORS[place % len(COLORS)], _SHAPES[place % len(_SHAPES)]
        chosen[name] = Style(color, shape, _DASHES[place // len(COLORS) % len(_DASHES)])
    return {name: chosen[name] for name in names}


def look(
    styles: Mapping[str, Style],
    field: str = "series",
    title: str | None = None,
    legend: bool = True,
) -> Look:
    """Return the encodings of a field whose values are each in their style.

    Args:
        styles: By value, in the order of the legend.
        field: The field of the rows.
        title: Of the legend.
        legend: Whether there is one.
    """
    shown = alt.Legend(title=title) if legend else None
    channels = {"color": alt.Color, "shape": alt.Shape, "strokeDash": alt.StrokeDash}
    ranges = zip(*styles.values(), strict=True)
    return {
        name: channel(f"{field}:N", scale=alt.Scale(domain=list(styles), range=looks), legend=shown)
        for (name, channel), looks in zip(channels.items(), ranges, strict=True)
    }


def percentages(axis: type[alt.X] | type[alt.Y], title: str = "accuracy, %") -> Any:
    """Return an axis from 0 to 100."""
    field = "x:Q" if axis is alt.X else "y:Q"
    ticks = alt.Axis(values=[0, 25, 50, 75, 100])
    return axis(field, title=title, scale=alt.Scale(domain=[0, 100]), axis=ticks)


def lines(
    rows: Rows,
    look: Look,
    x: alt.X,
    y: alt.Y,
    title: alt.Title,
    tips: Mapping[str, str] | None = None,
    points: Rows | None = None,
) -> Panel:
    """Draw one line for each ``series``; a click on a name in the legend makes the others pale.

    Args:
        rows: ``series``, ``x`` and ``y``; points with ``low`` and ``high`` have error bars.
        look: How lines are told apart.
        x, y: The axes.
        title: Of the panel.
        tips: What the pointer shows at a point: field -> its name there.
        points: Where points are drawn; by default at all rows.
    """
    picked = alt.selection_point(name="picked", fields=["series"], bind="legend")
    pale = alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.12))
    shared: Look = {"x": x, "y": y, "color": look["color"], "opacity": pale}
    base = of(rows).encode(**shared)
    marks = base if points is None else of(points).encode(**shared)
    layers = [
        base.mark_line(strokeWidth=1.7).encode(strokeDash=look["strokeDash"]),
        marks.mark_point(filled=True, size=48)
        .encode(shape=look["shape"], tooltip=_tooltip(tips))
        .add_params(picked),
    ]
    if any("low" in row for row in (rows if points is None else points)):
        bars = marks.mark_rule(strokeWidth=0.9).encode(y=_like(y, "low"), y2="high:Q")
        layers.insert(0, bars)
    return alt.layer(*layers, title=title, width=PLOT[0], height=PLOT[1])


def dots(
    rows: Rows,
    names: Sequence[str],
    look: Look,
    x: alt.X,
    title: alt.Title,
    tips: Mapping[str, str],
    kinds: Sequence[str] = (),
) -> Panel:
    """Draw a point for each name, or for each name and kind, on a line from the axis.

    Args:
        rows: ``name``, ``kind``, ``x``, ``start`` of the line, and ``text``, written at ``end``;
            with ``low`` and ``high`` they have error bars, without ``x`` they are only text.
        names: From top to bottom.
        look: How points are told apart.
        x: The axis.
        title: Of the panel.
        tips: What the pointer shows at a point: field -> its name there.
        kinds: What stands below each other at one name; nothing for one point each.
    """
    y = alt.Y("name:N", title=None, scale=alt.Scale(domain=list(names), padding=0.2))
    base = of(rows).encode(y=y, x=x)
    if kinds:
        scale = alt.Scale(domain=list(kinds), padding=0.1)
        base = base.encode(yOffset=alt.YOffset("kind:N", scale=scale))
    points = base.transform_filter("isValid(datum.x)").encode(color=look["color"])
    return alt.layer(
        points.mark_rule(strokeWidth=1.3, opacity=0.35).encode(x=_like(x, "start"), x2="x:Q"),
        points.mark_rule(strokeWidth=1.1).encode(x=_like(x, "low"), x2="high:Q"),
        points.mark_point(filled=True, size=60, opacity=1).encode(
            shape=look["shape"], tooltip=_tooltip(tips)
        ),
        base.mark_text(align="left", dx=8).encode(x=_like(x, "end"), text="text:N"),
        title=title,
        width=PLOT[0],
        height=len(names) * (12 + 13 * max(1, len(kinds))),
    )


def heat_map(
    rows: Rows, names: Sequence[str], labels: Sequence[str], most: float, title: alt.Title,
    tips: Mapping[str, str],
) -> Panel:  # fmt: skip
    """Draw a cell for each name and label: gains are purple, losses orange.

    Args:
        rows: ``name``, ``label``, ``value`` (None where there is none) and ``text``.
        names: From top to bottom.
        labels: From left to right.
        most: The largest absolute value of all maps beside each other.
        title: Of the panel.
        tips: What the pointer shows at a cell: field -> its name there.
    """
    slanted = alt.Axis(labelAngle=-40, labelAlign="right", labelBaseline="middle")
    colors = alt.Scale(scheme="purpleorange", reverse=True, domain=[-most, most], domainMid=0)
    shade = alt.when("isValid(datum.value)").then(alt.Color("value:Q", scale=colors, legend=None))
    dark = alt.when(f"abs(datum.value) > {0.6 * most}").then(alt.value("white"))
    base = of(rows).encode(
        x=alt.X("label:N", title=None, axis=slanted, scale=alt.Scale(domain=list(labels))),
        y=alt.Y("name:N", title=None, scale=alt.Scale(domain=list(names))),
    )
    return alt.layer(
        base.mark_rect(stroke="white", strokeWidth=1.5).encode(
            color=shade.otherwise(alt.value("#f2f1ee")), tooltip=_tooltip(tips)
        ),
        base.mark_text().encode(text="text:N", color=dark.otherwise(alt.value(INK))),
        title=title,
        width=alt.Step(44),
        height=alt.Step(23),
    )


def levels(rows: Rows, look: Look, y: alt.Y) -> alt.Chart:
    """Draw dotted lines across a panel, at each row's ``y``."""
    return of(rows).mark_rule(strokeDash=[1, 3]).encode(y=y, color=look["color"])


def of(rows: Rows) -> alt.Chart:
    """Return a chart of rows that shows nothing yet."""
    return alt.Chart(alt.Data(values=list(rows)))


def _tooltip(tips: Mapping[str, str] | None) -> list[alt.Tooltip]:
    return [alt.Tooltip(field, type="nominal", title=name) for field, name in (tips or {}).items()]


def _like(axis: Any, field: str) -> Any:
    """Return the same axis for another field."""
    other = axis.copy()
    other.shorthand = f"{field}:Q"
    return other
