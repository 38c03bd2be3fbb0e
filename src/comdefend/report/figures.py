"""The figures of an evaluation; each is None where a record holds nothing to show."""

import altair as alt

from comdefend.evaluation.record import UNDEFENDED, Record, Row
from comdefend.evaluation.statistics import Share, worst_case
from comdefend.report.charts import (
    COLORS,
    GREY,
    Figure,
    Style,
    dots,
    lines,
    look,
    of,
    percentages,
    styles,
)
from comdefend.report.classes import class_changes
from comdefend.report.summary import (
    NOT_MEASURED,
    SENSES,
    attack_name,
    columns_of,
    norm_name,
    percent,
)

_LOOKS = {
    "oblivious": Style(COLORS[0], "circle"),
    "transfer": Style(GREY, "diamond"),
    "adaptive": Style(COLORS[1], "square"),
    "query": Style(COLORS[3], "triangle-up"),
}
# Bounds whose perturbations a figure shows the size of.
_PERTURBATIONS = (2, 8, 16)
_MOST_PSNR = 50.0


def figures_of(record: Record) -> list[Figure]:
    """Return the figures of attacks, classes and clean images that a record holds data for."""
    norms = dict.fromkeys(row.norm for row in record.results if row.norm and row.eps is not None)
    figures = [accuracy_against_eps(record, norm) for norm in norms]
    figures += [accuracy_without_eps(record), class_changes(record), reconstruction(record)]
    return [figure for figure in figures if figure]


def accuracy_against_eps(record: Record, norm: str) -> Figure | None:
    """Draw accuracy against eps: one panel for each threat model, one line for each defence.

    An adaptive panel stands beside an oblivious one even where it is empty.

    Args:
        record: An evaluation.
        norm: ``Linf`` or ``L2``; bounds in different norms do not compare.
    """
    rows = [row for row in record.rows(norm=norm) if row.eps]
    if not rows:
        return None
    bounds = sorted({0.0, *(row.eps or 0 for row in rows)})
    names = record.defense_names
    # Lines that meet are moved apart by a little, so that their bars do not hide each other.
    step = min(0.01 * bounds[-1], 0.5 * bounds[1] / len(names))
    x = alt.X(
        "x:Q",
        title=f"eps in {norm_name(norm)}, in 1/255",
        scale=alt.Scale(domain=[-0.03 * bounds[-1], 1.03 * bounds[-1]], nice=False),
        axis=alt.Axis(values=bounds, labelOverlap="greedy"),
    )
    tips = {"series": "defence", "eps": "eps", "accuracy": "accuracy", "images": "images"}
    panels = []
    for threat in SENSES:
        points = [
            point_of(share, "y")
            | {"series": name, "eps": f"{eps:g}/255", "x": eps + step * (place - len(names) // 2)}
            for place, name in enumerate(names)
            for eps, share in _curve(record, name, threat, norm).items()
        ]
        if points or threat == "adaptive":
            title = alt.Title(threat.capitalize(), subtitle=SENSES[threat])
            y = percentages(alt.Y)
            panel = lines(points, look(styles(names, UNDEFENDED)), x, y, title, tips)
            if not points:
                panel += of([{"text": NOT_MEASURED}]).mark_text(color=GREY).encode(text="text:N")
            panels.append(panel)
    attacks = list(dict.fromkeys(attack_name(row.attack or "") for row in rows))
    meaning = (
        f"The attack is {attacks[0]}."
        if len(attacks) == 1
        else "A point is the share of images that withstand every attack made at that eps under "
        f"that threat model. The attacks: {', '.join(attacks)}."
    )
    return Figure(
        f"Accuracy against the size of the perturbation, {norm_name(norm)}",
        f"{meaning} At eps 0 stands the clean accuracy. Bars are 95 % intervals. Lines that would "
        "hide each other are moved sideways by a little.",
        panels,
        across=2 if len(panels) == 4 else 3,
    )


def accuracy_without_eps(record: Record) -> Figure | None:
    """Draw accuracy under attacks that look for the smallest perturbation.

    Where an oblivious attack was not made adaptively, the figure says so.
    """
    columns = [column for column in columns_of(record) if column.eps is None]
    if not columns:
        return None
    made = {column.threat for column in columns} | {"adaptive"}
    kinds = [kind for kind in SENSES if kind in made]
    names = record.defense_names
    tips = {"name": "defence", "kind": "threat", "accuracy": "accuracy", "images": "images"}
    panels = []
    for attack, norm in dict.fromkeys((column.attack, column.norm) for column in columns):
        points: list[dict[str, str | float]] = []
        for name, kind in ((name, kind) for name in names for kind in kinds):
            about: dict[str, str | float] = {"name": name, "kind": kind, "start": 0, "end": 0}
            rows = record.rows(defense=name, threat=kind, attack=attack, norm=norm, eps=None)
            if share := worst_case(rows):
                point = point_of(share, "x")
                text = {"text": percent(share.accuracy), "end": point["high"]}
                points.append(about | point | text)
            elif kind == "adaptive":
                points.append(about | {"text": f"{kind}: {NOT_MEASURED}"})
        title = alt.Title(f"{attack_name(attack or '')} {norm_name(norm)}")
        looks = look({kind: _LOOKS[kind] for kind in kinds}, "kind")
        panels.append(dots(points, names, looks, percentages(alt.X), title, tips, kinds))
    return Figure(
        "Attacks that look for the smallest perturbation",
        "These attacks have no bound and stop as soon as the classifier errs, so they show how "
        "much of a barely sufficient perturbation a defence undoes. An attacker can always take a "
        "larger step. Bars are 95 % intervals.",
        panels,
    )


def reconstruction(record: Record) -> Figure | None:
    """Draw how faithful purified clean images are, as PSNR, beside the size of perturbations."""
    sizes = {defense.name: defense.psnr for defense in record.defenses if defense.psnr}
    if not sizes:
        return None
    attack, marks = perturbation_sizes(record)
    dashed = f"dashed: perturbations by {attack_name(attack)}" if attack else alt.Undefined
    values = [*sizes.values(), *marks.values()]
    # What leaves clean images all but alone would press the others together.
    low, high = max(0.0, min(values) - 4), min(_MOST_PSNR, max(values) + 4)
    points = [
        {"name": name, "text": f"{psnr:.1f}" + (" →" if psnr > high else "")}
        | {"start": low, "x": min(psnr, high), "end": min(psnr, high)}
        for name, psnr in sizes.items()
    ]
    x = alt.X(
        "x:Q",
        title="PSNR, dB",
        scale=alt.Scale(domain=[low, high + 2], nice=False, zero=False),
        axis=alt.Axis(tickCount=6),
    )
    panel = dots(
        points,
        list(sizes),
        look(styles(record.defense_names, UNDEFENDED), "name", legend=False),
        x,
        alt.Title("Purified clean images", subtitle=dashed),
        {"name": "defence", "text": "PSNR, dB"},
    )
    rules = of([{"x": psnr, "text": f"{eps:g}/255"} for eps, psnr in marks.items()]).encode(x=x)
    text = rules.mark_text(dy=-7).encode(y=alt.value(0), text="text:N")
    return Figure(
        "What is kept of clean images",
        "PSNR of what each defence makes of images that nobody attacked. Right of a dashed line, a "
        "defence changes a clean image less than that perturbation does: what it keeps is as fine "
        "as the attack, or finer. Left of it, it takes more from a clean image than the attack "
        "adds. Whether an attack survives, only the tables say.",
        [alt.layer(rules.mark_rule(strokeDash=[4, 3]), panel, text).properties(width=420)],
    )


def perturbation_sizes(record: Record) -> tuple[str | None, dict[float, float]]:
    """Return an attack in L∞ and the PSNR of its perturbations by eps.

    Of the attacks on the bare classifier it is the one with most of the usual bounds, the first of
    equals.
    """
    sizes: dict[str, dict[float, float]] = {}
    for row in record.rows(defense=UNDEFENDED, threat="oblivious", norm="Linf"):
        if row.attack and row.eps in _PERTURBATIONS and row.perturbation_psnr is not None:
            sizes.setdefault(row.attack, {})[row.eps] = row.perturbation_psnr
    attack = max(sizes, key=lambda name: len(sizes[name]), default=None)
    return attack, sizes.get(attack or "", {})


def detection_roc(record: Record) -> Figure | None:
    """Draw how well each defence tells attacked images from clean ones, at every threshold."""
    detections = {
        defense.name: defense.detection
        for defense in record.defenses
        if defense.detection and defense.detection.fpr
    }
    if not detections:
        return None
    style = styles(record.defense_names, UNDEFENDED)
    series = {name: f"{name}, {roc.auroc or 0:.2f}" for name, roc in detections.items()}
    curves = [
        {"series": series[name], "x": round(100 * x, 2), "y": round(100 * y, 2)}
        for name, roc in detections.items()
        for x, y in zip(roc.fpr, roc.tpr, strict=True)
    ]
    in_use = [
        {"series": series[name], "name": name, "x": 100 * alarms, "y": 100 * detected}
        | {"alarms": percent(alarms), "detected": percent(detected)}
        for name, roc in detections.items()
        if (alarms := roc.false_positives) is not None and (detected := roc.detected) is not None
    ]
    panel = lines(
        curves,
        look(
            {series[name]: style[name] for name in detections},
            title="defence, area under the curve",
        ),
        percentages(alt.X, "clean images taken for attacked, %"),
        percentages(alt.Y, "attacked images detected, %"),
        alt.Title("Attacked images detected"),
        {"name": "defence", "detected": "detected", "alarms": "false alarms"},
        in_use,
    )
    return Figure(
        "Detection at every threshold",
        "The point on each line is the threshold in use.",
        [panel.properties(height=270)],
    )


def _curve(record: Record, defense: str, threat: str, norm: str) -> dict[float, Share]:
    """Return the accuracy by eps; nothing where there are no attacks of the threat model."""
    rows: dict[float, list[Row]] = {}
    for row in record.rows(defense=defense, threat=threat, norm=norm):
        if row.eps is not None:
            rows.setdefault(row.eps, []).append(row)
    if rows:
        rows[0.0] = record.rows(defense=defense, threat="clean")
    shares = {eps: worst_case(rows[eps]) for eps in sorted(rows)}
    return {eps: share for eps, share in shares.items() if share}


def point_of(share: Share, axis: str) -> dict[str, str | float]:
    """Return a share on an axis, in percent, and what the pointer shows of it."""
    value, low, high = (round(100 * x, 2) for x in (share.accuracy, share.low, share.high))
    accuracy = f"{percent(share.accuracy)} ({low:.0f} to {high:.0f})"
    place = {axis: value, "low": low, "high": high}
    return {**place, "accuracy": accuracy, "images": share.images}
