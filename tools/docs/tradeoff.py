"""The figure of photographs: what defences keep under attack against what they keep without."""

import altair as alt

from comdefend.evaluation.record import UNDEFENDED, Record
from comdefend.report.charts import COLORS, Figure, Panel, Style, lines, look, of

BOUNDS = (2, 4, 8, 16)
_FAMILIES = {
    "photo": Style(COLORS[0]),
    "photo-clean": Style(COLORS[4], "triangle-up"),
    "jpeg": Style(COLORS[1], "square"),
    "webp": Style(COLORS[2], "diamond"),
}
"""The defences to show; a family has one line, through its rates or qualities."""


def tradeoff(record: Record) -> Figure:
    """Draw the accuracy under BIM on the bare classifier against that on clean images."""
    title = "Accuracy under attack against clean accuracy"
    return Figure(title, "", [_panel(record, eps) for eps in BOUNDS], across=2)


def _panel(record: Record, eps: float) -> Panel:
    rows = []
    for name in record.defense_names:
        family, _, setting = name.replace("@", ":").partition(":")
        if family not in _FAMILIES:
            continue
        clean = record.row(defense=name, threat="clean").accuracy
        attacked = record.row(defense=name, threat="oblivious", attack="bim", eps=eps).accuracy
        rows.append(
            {"series": family, "x": 100 * clean, "y": 100 * attacked, "text": setting or "2"}
        )
    bare = 100 * record.row(defense=UNDEFENDED, threat="clean").accuracy
    scale = alt.Scale(zero=False, padding=16)
    x = alt.X("x:Q", title="clean accuracy, %", scale=scale, axis=alt.Axis(tickCount=5))
    y = alt.Y("y:Q", title="under attack, %", scale=alt.Scale(domain=[0, 100]))
    heading = alt.Title(f"BIM within {eps}/255", subtitle=f"without a defence: {bare:.0f} % clean")
    style = look(_FAMILIES)
    names = of(rows).mark_text(align="left", dx=6, dy=-5)
    names = names.encode(x=x, y=y, text="text:N", color=style["color"])
    return lines(rows, style, x, y, heading) + names
