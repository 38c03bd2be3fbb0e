"""How charts look, and the kinds of panels that figures are made of.

Charts are built with Altair; vl-convert draws them as SVG, and Vega draws them in a page. Series
differ in colour, shape and dashes: nothing depends on colour alone.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt
import vl_convert
from markupsafe import escape

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
# What a panel with its axes takes, its plot, and an entry of a legend, in pixels.
_PANEL, PLOT, _ENTRY = 330, (270, 205), 230

Rows = Sequence[Mapping[str, Any]]
Chart = alt.LayerChart | alt.ConcatChart | alt.VConcatChart


@dataclass(frozen=True)
class Figure:
    """A chart and the words around it.

    Attributes:
        title: What it shows.
        caption: How to read it.
        chart: The chart.
        width: What the chart takes, roughly, in pixels.
    """

    title: str
    caption: str
    chart: Chart
    width: int

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The chart as Vega-Lite, without its theme."""
        with alt.theme.enable("none"):
            return self.chart.to_dict()

    @cached_property
    def svg(self) -> str:
        """The chart as SVG, its title for those who do not see it; equal charts give equal text."""
        text = vl_convert.vegalite_to_svg(
            self.spec, vl_version=VEGA_LITE, config=theme(self.width), allowed_base_urls=[]
        )
        return text.replace("<svg", f'<svg role="img" aria-label="{escape(self.title)}"', 1)


@dataclass(frozen=True)
class Style:
    """How one series looks."""

    color: str
    shape: str = "circle"
    dash: tuple[int, ...] = (1, 0)


@dataclass(frozen=True)
class Look:
    """The encodings that tell the values of a field apart."""

    field: str
    color: alt.Color
    shape: alt.Shape
    dash: alt.StrokeDash


def theme(width: float = 0, dark: bool = False) -> dict[str, Any]:
    """Return the configuration that all charts share.

    Args:
        width: Of the whole chart in pixels; legends have as many columns as fit, or one.
        dark: For a dark page.
    """
    light_colors = (INK, "#5c646d", "#a9adb2", "#e8e6e1")
    dark_colors = ("#e6e3dc", "#a0a7ae", "#5b636b", "#33393f")
    ink, soft, line, grid = dark_colors if dark else light_colors
    small = {"titleColor": soft, "titleFontSize": 11, "titleFontWeight": "normal"}
    return {
        "aria": False,
        "background": None if dark else "white",
        # Equally wide, so that a layout computed with one font fits the others.
        "font": "Liberation Sans, Arial, Helvetica, sans-serif",
        "view": {"stroke": None},
        "axis": {
            "domainColor": line, "gridColor": grid, "labelColor": soft, "labelFontSize": 11,
            "labelPadding": 6, "titlePadding": 8, "ticks": False, **small,
        },
        "axisBand": {"domain": False, "grid": False, "labelColor": ink, "labelLimit": 170},
        "legend": {
            "columns": max(1, int(width // _ENTRY)), "labelColor": ink, "labelFontSize": 11.5,
            "labelLimit": _ENTRY - 40, "orient": "bottom", "offset": 14, "columnPadding": 18,
            "symbolSize": 70, **small,
        },
        "title": {
            "anchor": "start", "color": ink, "fontSize": 13, "fontWeight": 600, "frame": "group",
            "offset": 10, "subtitleColor": soft, "subtitleFontSize": 11, "subtitlePadding": 4,
        },
        "rule": {"color": ink},
        "text": {"color": ink, "fontSize": 10.5},
        "concat": {"spacing": 26},
    }  # fmt: skip


def beside(panels: Sequence[alt.LayerChart], across: int = 3) -> tuple[alt.ConcatChart, int]:
    """Return panels in rows of at most ``across``, and the width of the whole in pixels."""
    columns = min(across, len(panels))
    with warnings.catch_warnings():
        # All panels share one selection, as Altair warns.
        warnings.filterwarnings("ignore", "Automatically deduplicated selection")
        chart = alt.concat(*panels, columns=columns)
    return chart.resolve_scale(color="shared", shape="shared"), columns * _PANEL


def styles(names: Sequence[str], bare: str | None = None) -> dict[str, Style]:
    """Return a look for each name, by its place.

    Args:
        names: All series of a chart.
        bare: The one to compare the others with; it is grey.
    """
    found = {name: Style(GREY, "circle", (3, 2)) for name in names if name == bare}
    for place, name in enumerate(name for name in names if name != bare):
        color, shape = COLORS[place % len(COLORS)], _SHAPES[place % len(_SHAPES)]
        found[name] = Style(color, shape, _DASHES[place // len(COLORS) % len(_DASHES)])
    return {name: found[name] for name in names}


def look(
    styles: Mapping[str, Style],
    field: str = "series",
    title: str | None = None,
    legend: bool = True,
) -> Look:
    """Return the encodings of a field, its values each in their style.

    Args:
        styles: By value, in the order of the legend.
        field: The field of the rows.
        title: Of the legend.
        legend: Whether there is one.
    """

    def scale(values: Sequence[Any]) -> alt.Scale:
        return alt.Scale(domain=list(styles), range=list(values))

    of, name = list(styles.values()), f"{field}:N"
    # An explicit one: by default the dashes' missing legend would take this one away, too.
    shown = alt.Legend(title=title, symbolOpacity=1, symbolStrokeWidth=0) if legend else None
    return Look(
        field,
        alt.Color(name, scale=scale([style.color for style in of]), legend=shown),
        alt.Shape(name, scale=scale([style.shape for style in of]), legend=shown),
        alt.StrokeDash(name, scale=scale([list(style.dash) for style in of]), legend=None),
    )


def titled(title: str, subtitle: str = "") -> alt.Title:
    """Return a panel's title, and below it, smaller, what it means."""
    return alt.Title(title, **({"subtitle": subtitle} if subtitle else {}))


def percentages(axis: type[alt.X] | type[alt.Y], title: str = "accuracy, %") -> Any:
    """Return an axis from 0 to 100."""
    ticks = alt.Axis(values=[0, 25, 50, 75, 100])
    name = "x:Q" if axis is alt.X else "y:Q"
    return axis(name, title=title, scale=alt.Scale(domain=[0, 100]), axis=ticks)


def tooltip(**fields: str) -> list[alt.Tooltip]:
    """Return what is shown beside the pointer: field -> its name there."""
    return [alt.Tooltip(field, type="nominal", title=title) for field, title in fields.items()]


def lines(
    rows: Rows,
    look: Look,
    x: alt.X,
    y: alt.Y,
    title: alt.Title,
    tips: Sequence[alt.Tooltip] = (),
    points: Rows | None = None,
) -> alt.LayerChart:
    """Draw one line for each series; a click on a name in the legend makes the others pale.

    Args:
        rows: ``x``, ``y`` and the field of ``look``; with ``low`` and ``high`` they have error
            bars.
        look: How lines are told apart.
        x, y: The axes.
        title: Of the panel.
        tips: What the pointer shows at a point.
        points: Where points are drawn; by default at all rows.
    """
    picked = alt.selection_point(name="picked", fields=[look.field], bind="legend")
    opacity = alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.12))
    shared = {"x": x, "y": y, "color": look.color, "opacity": opacity}
    base = of(rows).encode(**shared)
    bars = base.mark_rule(strokeWidth=0.9).encode(y=like(y, "low"), y2="high:Q")
    marks = of(rows if points is None else points).mark_point(filled=True, size=48)
    return alt.layer(
        *([bars] if any("low" in row for row in rows) else []),
        base.mark_line(strokeWidth=1.7).encode(strokeDash=look.dash),
        marks.encode(shape=look.shape, tooltip=list(tips), **shared).add_params(picked),
        title=title, width=PLOT[0], height=PLOT[1],
    )  # fmt: skip


def dots(
    rows: Rows,
    names: Sequence[str],
    look: Look,
    x: alt.X,
    title: alt.Title,
    tips: Sequence[alt.Tooltip] = (),
    kinds: Sequence[str] = ("",),
) -> alt.LayerChart:
    """Draw one point for each name and kind, on a line from the axis.

    Args:
        rows: ``name``, ``kind``, ``x``, and ``text``, which is written at ``end``; with ``low`` and
            ``high`` they have error bars. Without ``x`` there is only the text.
        names: From top to bottom.
        look: How points are told apart.
        x: The axis, its scale with a domain.
        title: Of the panel.
        tips: What the pointer shows at a point.
        kinds: What stands below each other at one name.
    """
    y = alt.Y("name:N", sort=list(names), title=None, scale=alt.Scale(padding=0.2))
    offset = alt.YOffset("kind:N", sort=list(kinds), scale=alt.Scale(padding=0.1))
    base = of(rows).encode(y=y, yOffset=offset, x=x)
    points = base.transform_filter("isValid(datum.x)").encode(color=look.color)
    text = base.mark_text(align="left", dx=8).encode(x=like(x, "end"), text="text:N")
    return alt.layer(
        points.mark_rule(strokeWidth=1.3, opacity=0.35).encode(x=like(x, "start"), x2="x:Q"),
        points.mark_rule(strokeWidth=1.1).encode(x=like(x, "low"), x2="high:Q"),
        points.mark_point(filled=True, size=60, opacity=1).encode(
            shape=look.shape, tooltip=list(tips)
        ),
        text,
        title=title, width=PLOT[0], height=len(names) * (12 + 13 * len(kinds)),
    )  # fmt: skip


def levels(rows: Rows, y: alt.Y, color: alt.Color | None = None) -> alt.Chart:
    """Draw dotted lines across a panel at the rows' ``y``."""
    chart = of(rows).mark_rule(strokeDash=[1, 3], color=GREY).encode(y=y)
    return chart if color is None else chart.encode(color=color)


def note(text: str) -> alt.Chart:
    """Write a text in the middle of a panel."""
    middle = {"x": alt.value(PLOT[0] / 2), "y": alt.value(PLOT[1] / 2)}
    return of([{"text": text}]).mark_text(color=GREY).encode(text="text:N", **middle)


def of(rows: Rows) -> alt.Chart:
    """Return a chart of rows that shows nothing yet."""
    return alt.Chart(alt.Data(values=list(rows)))


def like(axis: Any, field: str) -> Any:
    """Return the same axis for another field."""
    other = axis.copy()
    other.shorthand = f"{field}:Q"
    return other
