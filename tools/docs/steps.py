"""The figure of weaker attacks: what is left against the number of steps."""

from typing import Any

import altair as alt

from comdefend.evaluation.record import UNDEFENDED, Record
from comdefend.report.charts import Figure, Panel, levels, lines, look, percentages, styles

EARLY = ("bim-early", "10 steps")


def steps(record: Record) -> Figure:
    """Draw accuracy under BIM against its number of steps; the single step is FGSM."""
    bounds = sorted({row.eps for row in record.results if row.attack == "bim" and row.eps})
    title = "Accuracy against the number of steps of an oblivious attack"
    return Figure(title, "", [_panel(record, eps) for eps in bounds])


def _panel(record: Record, eps: float) -> Panel:
    names = record.defense_names
    rows: list[dict[str, Any]] = [
        {"series": row.defense, "x": row.steps or 1, "y": 100 * row.accuracy}
        for row in record.rows(threat="oblivious", eps=eps)
        if row.attack in ("fgsm", "bim") and row.rounded and row.step_size is None
    ]
    attack, variant = EARLY
    early = [
        {"series": row.defense, "y": 100 * row.accuracy}
        for row in record.rows(threat="oblivious", attack=attack, eps=eps, variant=variant)
    ]
    style = look(styles(names, UNDEFENDED))
    numbers = sorted({row["x"] for row in rows})
    x = alt.X("x:Q", title="steps", scale=alt.Scale(type="log"), axis=alt.Axis(values=numbers))
    y = percentages(alt.Y)
    heading = alt.Title(f"Within {eps:g}/255", subtitle="dotted: 10 steps, stopped early")
    ordered = sorted(rows, key=lambda row: (names.index(row["series"]), row["x"]))
    return levels(early, style, y) + lines(ordered, style, x, y, heading)
