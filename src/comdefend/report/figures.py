"""Figures of an evaluation, as SVG text.

Every function takes a record (`comdefend.evaluation.record`) and returns None where the record
holds nothing to show. Equal records give equal bytes.
"""

from collections.abc import Callable, Sequence
from typing import Any

from comdefend.common.extras import require
from comdefend.report.drawing import (
    COLORS,
    FAINT,
    INK,
    add_legend,
    add_title,
    drawing,
    panels,
    svg,
)
from comdefend.report.summary import (
    NOT_MEASURED,
    THREATS,
    UNDEFENDED,
    Column,
    Record,
    Row,
    Share,
    attack_name,
    cell_rows,
    combine,
    defense_names,
    headline_choice,
    norm_name,
    percent,
    select,
    summarize,
    survivors,
)

_MARKERS = "os^DvPX<>phd"
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)))
_THREAT_STYLES: dict[str, dict[str, Any]] = {
    "oblivious": {"facecolor": "#9ecbe3", "edgecolor": "#0072b2"},
    "transfer": {"facecolor": "#d9d6cf", "edgecolor": "#6a717a", "hatch": ".."},
    "adaptive": {"facecolor": "#0b4a74", "edgecolor": "#0b4a74"},
    "query": {"facecolor": "#f3c9a5", "edgecolor": "#b04a00", "hatch": "////"},
}
_SENSES = {
    "oblivious": "attacker does not know of the defence",
    "adaptive": "attacker attacks through the defence",
    "query": "attacker sees outputs only",
    "transfer": "made on another classifier",
}
_MOST_CLASSES = 24
# Bounds whose perturbations a figure shows the size of.
_PERTURBATIONS = (2, 8, 16)
_MOST_PSNR = 50.0
_LONGEST_NAME = 26


def accuracy_against_eps(record: Record, norm: str, attack: str | None = None) -> str | None:
    """Draw accuracy against eps: one panel a threat model, one line a defence.

    Bars are 95 % Wilson intervals; eps 0 is the clean accuracy. An adaptive panel stands beside an
    oblivious one even if it is empty.

    Args:
        record: An evaluation.
        norm: ``Linf`` or ``L2``; bounds in different norms do not compare.
        attack: Only this attack; if None, every point is the share of images that withstand all
            attacks that were made at this eps.
    """
    curves = {
        threat: {
            name: points
            for name in defense_names(record)
            if (points := _curve(record, name, threat, norm, attack))
        }
        for threat in THREATS
    }
    shown = [threat for threat in THREATS if curves[threat]]
    if not shown:
        return None
    if {"oblivious", "transfer"} & set(shown) and "adaptive" not in shown:
        shown.insert(shown.index("oblivious") + 1 if "oblivious" in shown else 0, "adaptive")
    bounds = sorted({eps for lines in curves.values() for line in lines.values() for eps in line})
    with drawing(f"eps-{norm}-{attack}"):
        names = [n for n in defense_names(record) if any(n in lines for lines in curves.values())]
        # Three small panels fit beside each other; many lines need larger ones.
        columns = min(len(shown), 3 if len(shown) == 3 and len(names) <= 6 else 2)
        size = (3.3, 2.75) if columns == 3 else (4.7, 3.1)
        figure, axes = panels(len(shown), columns, size)
        for panel, threat in zip(axes, shown, strict=True):
            add_title(panel, threat.capitalize(), _SENSES[threat])
            _draw_curves(panel, record, curves[threat], bounds)
            panel.set_xlabel(f"eps in {norm_name(norm)}, in 1/255")
        add_legend(figure, [(_line_key(record, name), _short(name)) for name in names])
        return svg(figure, f"Accuracy against eps in {norm_name(norm)} for each defence")


def accuracy_without_eps(record: Record) -> str | None:
    """Draw accuracy under attacks that look for the smallest perturbation, as bars.

    Where an oblivious attack was not made adaptively, the figure says so.
    """
    columns = [column for column in summarize(record).columns if column.eps is None]
    families = list(dict.fromkeys((column.attack, column.norm) for column in columns))
    if not families:
        return None
    names = defense_names(record)
    kinds = {
        family: [
            kind
            for kind in _THREAT_STYLES
            if kind in {c.threat for c in columns if (c.attack, c.norm) == family}
            or (
                kind == "adaptive"
                and any((c.attack, c.norm) == family and c.threat != "query" for c in columns)
            )
        ]
        for family in families
    }
    bars = max(len(found) for found in kinds.values())
    with drawing("no-eps"):
        across = min(2, len(families))
        height = 0.8 + len(names) * (0.12 + 0.17 * bars)
        figure, axes = panels(len(families), across, (4.7, height))
        for panel, family in zip(axes, families, strict=False):
            column = next(c for c in columns if (c.attack, c.norm) == family)
            add_title(panel, column.family, "")
            _draw_bars(panel, record, names, column, kinds[family])
        patches = require("matplotlib.patches", "evaluate")
        used = [kind for kind in _THREAT_STYLES if any(kind in found for found in kinds.values())]
        add_legend(figure, [(patches.Patch(**_THREAT_STYLES[kind]), kind) for kind in used])
        return svg(figure, "Accuracy under attacks that look for the smallest perturbation")


def class_changes(record: Record) -> str | None:
    """Draw how much each defence changes the accuracy of each class, in percentage points.

    One panel for clean images, and two for the attack that the headline is about: oblivious and
    adaptive. Of many classes only those are shown whose clean accuracy changes most.
    """
    defended = [name for name in defense_names(record) if name != UNDEFENDED]
    cases: list[tuple[tuple[str, str], Callable[[str], list[Row]]]] = [
        (("Clean", "images as they are"), lambda name: select(record, name, "clean"))
    ]
    choice = headline_choice(summarize(record))
    if choice is not None and choice[1] is not None:
        column = choice[1]
        bound = column.label if column.eps is None else f"{norm_name(column.norm)} {column.bound}"
        if column.attack is not None:
            sense = "oblivious: " + _SENSES["oblivious"]
            cases.append(((column.label, sense), lambda name: cell_rows(record, name, column)[0]))
        sense = "adaptive: " + _SENSES["adaptive"]
        cases.append(((bound, sense), lambda name: cell_rows(record, name, column)[1]))
    labels = record.get("labels") or []
    changes = [
        [_class_changes(rows_of(UNDEFENDED), rows_of(name), labels) for name in defended]
        for _, rows_of in cases
    ]
    classes = sorted({label for case in changes for row in case for label in row})
    if not classes:
        return None
    if len(classes) > _MOST_CLASSES:
        classes.sort(key=lambda label: -max(abs(row.get(label, (0, 0))[0]) for row in changes[0]))
        classes = sorted(classes[:_MOST_CLASSES])
    known = record.get("data", {}).get("classes") or []
    names = {label: _short(str(known[label] if label < len(known) else label)) for label in classes}
    # Adaptive attacks are often made on fewer images, and not on as many for every defence.
    labelled = [
        {label: f"{name} ({_span(case, label)})" for label, name in names.items()}
        for case in changes
    ]
    with drawing("classes"):
        return _draw_heat_maps(defended, labelled, [title for title, _ in cases], changes)


def reconstruction(record: Record) -> str | None:
    """Draw how faithfully each defence passes clean images on, as PSNR.

    Lines stand at the PSNR of perturbations: beyond one of them a defence changes clean images
    less than that perturbation does.
    """
    found = [(d["name"], d["psnr"]) for d in record.get("defenses", []) if d.get("psnr")]
    if not found:
        return None
    attack, marks = perturbation_sizes(record)
    with drawing("reconstruction"):
        figure, (panel,) = panels(1, 1, (6.6, 1.1 + 0.25 * len(found)))
        sizes = [*(psnr for _, psnr in found), *marks.values()]
        # What leaves clean images all but alone would press the others together.
        low, high = max(0.0, min(sizes) - 4), min(_MOST_PSNR, max(sizes) + 4)
        for y, (name, psnr) in enumerate(found):
            style, x = _line_style(record, name), min(psnr, high)
            panel.plot([low, x], [y, y], color=style["color"], linewidth=1.2, alpha=0.35)
            panel.plot(
                x, y, marker=style["marker"], markersize=6.5, color=style["color"],
                markeredgecolor="white", clip_on=False, zorder=4,
            )  # fmt: skip
            panel.annotate(
                f"{psnr:.1f}" + (" →" if psnr > high else ""), (x, y), xytext=(7, 0),
                textcoords="offset points", va="center", fontsize=8, zorder=3,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
        for eps, psnr in marks.items():
            panel.axvline(psnr, color=INK, linewidth=1, linestyle=(0, (3, 2)), zorder=2)
            panel.text(
                psnr, len(found) - 0.1, f"{eps:g}/255", ha="center", va="center", fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
        panel.set(xlim=(low, high), ylim=(len(found) + (0.4 if marks else -0.5), -0.6))
        panel.set_yticks(range(len(found)), [_short(name) for name, _ in found], color=INK)
        panel.grid(visible=False, axis="y")
        panel.set_xlabel("PSNR to the clean images, in dB")
        lines = f"dashed: PSNR of the perturbations by {attack_name(attack)}" if attack else ""
        add_title(panel, "Purified clean images", lines)
        return svg(figure, "PSNR of purified clean images beside that of perturbations")


def perturbation_sizes(record: Record) -> tuple[str | None, dict[float, float]]:
    """Return an attack in L∞ and the PSNR of its perturbations by eps.

    Of those on the bare classifier the one with most of the usual bounds, the first of equals.
    """
    sizes: dict[str, dict[float, float]] = {}
    for row in select(record, UNDEFENDED, "oblivious"):
        size = row.get("perturbation_psnr")
        if row["eps"] in _PERTURBATIONS and row["norm"] == "Linf" and size is not None:
            sizes.setdefault(row["attack"], {})[row["eps"]] = size
    attack = max(sizes, key=lambda name: len(sizes[name]), default=None)
    return attack, sizes.get(attack or "", {})


def detection_roc(record: Record) -> str | None:
    """Draw how well each defence tells attacked images from clean ones, at every threshold.

    The mark on a line is the threshold in use.
    """
    found = {
        defense["name"]: defense["detection"]
        for defense in record.get("defenses", [])
        if defense.get("detection") and defense["detection"].get("fpr")
    }
    if not found:
        return None
    with drawing("roc"):
        figure, (panel,) = panels(1, 1, (3.9, 3.9))
        panel.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=":")
        entries = []
        for name, detection in found.items():
            style = _line_style(record, name)
            marker = style.pop("marker")
            panel.plot(detection["fpr"], detection["tpr"], **style)
            panel.plot(
                detection["false_positives"],
                detection["detected"],
                marker=marker,
                markersize=6,
                linestyle="none",
                color=style["color"],
                markeredgecolor="white",
                clip_on=False,
                zorder=4,
            )
            entries.append((_line_key(record, name), f"{_short(name)}, {detection['auroc']:.2f}"))
        panel.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        ticks = [0, 0.25, 0.5, 0.75, 1]
        panel.set_xticks(ticks, [percent(t) for t in ticks])
        panel.set_yticks(ticks, [percent(t) for t in ticks])
        panel.set_xlabel("clean images taken for attacked")
        add_title(panel, "Attacked images detected", "")
        add_legend(figure, entries, "defence, area under the curve", beside=True)
        return svg(figure, "Receiver operating characteristic of the detection of attacks")


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _line_style(record: Record, defense: str) -> dict[str, Any]:
    """Colour, marker and dashes of a defence, the same in every figure."""
    if defense == UNDEFENDED:
        return {"color": INK, "marker": "o", "linestyle": (0, (3, 2)), "linewidth": 1.3}
    index = [name for name in defense_names(record) if name != UNDEFENDED].index(defense)
    return {
        "color": COLORS[index % len(COLORS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _DASHES[index // len(COLORS) % len(_DASHES)],
        "linewidth": 1.6,
    }


def _marker_style(defense: str) -> dict[str, Any]:
    bare = defense == UNDEFENDED
    return {
        "markersize": 5.5,
        "markeredgewidth": 1.2 if bare else 0.7,
        **({"markerfacecolor": "white"} if bare else {"markeredgecolor": "white"}),
    }


def _line_key(record: Record, defense: str) -> Any:
    lines = require("matplotlib.lines", "evaluate")
    return lines.Line2D([], [], **_line_style(record, defense), **_marker_style(defense))


def _curve(
    record: Record, defense: str, threat: str, norm: str, attack: str | None
) -> dict[float, Share]:
    """Share of right images by eps; empty where the threat model has no rows."""
    rows: dict[float, list[Row]] = {}
    for row in select(record, defense, threat):
        if row["norm"] == norm and row["eps"] is not None and attack in (None, row["attack"]):
            rows.setdefault(row["eps"], []).append(row)
    if not rows:
        return {}
    rows[0] = select(record, defense, "clean")
    found = {eps: combine(rows[eps]) for eps in sorted(rows)}
    return {eps: share for eps, share in found.items() if share is not None}


def _draw_curves(
    axes: Any, record: Record, curves: dict[str, dict[float, Share]], bounds: Sequence[float]
) -> None:
    span = max(bounds) or 1
    # Lines that meet are moved apart by a little, so that their bars do not hide each other.
    step = min(0.01 * span, 0.5 * min((b for b in bounds if b), default=1) / max(1, len(curves)))
    for index, (name, points) in enumerate(curves.items()):
        shift = step * (index - (len(curves) - 1) / 2)
        shares = list(points.values())
        style = _line_style(record, name)
        axes.errorbar(
            [eps + shift for eps in points],
            [100 * share.accuracy for share in shares],
            yerr=[
                [100 * (share.accuracy - share.low) for share in shares],
                [100 * (share.high - share.accuracy) for share in shares],
            ],
            elinewidth=0.9,
            zorder=4 if name == UNDEFENDED else 3,
            clip_on=False,
            **style,
            **_marker_style(name),
        )
    if not curves:
        axes.text(0.5, 0.5, NOT_MEASURED, transform=axes.transAxes, ha="center", color=FAINT)
    axes.set(xlim=(-0.04 * span, 1.04 * span), ylim=(-2, 102))
    ticks: list[float] = []
    for bound in sorted({0, *bounds}, reverse=True):
        if not ticks or ticks[-1] - bound >= 0.055 * span:
            ticks.append(bound)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])


def _draw_bars(
    axes: Any, record: Record, names: Sequence[str], column: Column, kinds: Sequence[str]
) -> None:
    thick = 0.8 / len(kinds)
    for place, name in enumerate(names):
        for index, kind in enumerate(kinds):
            rows = [
                row
                for row in select(record, name, kind)
                if (row["attack"], row["norm"], row["eps"]) == (column.attack, column.norm, None)
            ]
            share = combine(rows)
            y = place + (index - (len(kinds) - 1) / 2) * thick
            if share is None:
                axes.text(1, y, f"{kind} {NOT_MEASURED}", va="center", fontsize=7.5, color=FAINT)
                continue
            value, low, high = (100 * v for v in (share.accuracy, share.low, share.high))
            axes.barh(y, value, height=0.86 * thick, linewidth=0.7, **_THREAT_STYLES[kind])
            axes.errorbar(
                value, y, xerr=[[value - low], [high - value]], color=INK, elinewidth=0.9, zorder=4
            )
            axes.text(high + 2, y, percent(share.accuracy), va="center", fontsize=7.5)
    axes.set(xlim=(0, 116), ylim=(len(names) - 0.5, -0.5))
    axes.set_xticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_yticks(range(len(names)), [_short(name) for name in names], color=INK)
    axes.grid(visible=False, axis="y")


def _class_changes(
    before: Sequence[Row], after: Sequence[Row], labels: Sequence[int]
) -> dict[int, tuple[float, int]]:
    """Points that each class gains, and the number of images that both were measured on."""
    old, new = survivors(before), survivors(after)
    if old is None or new is None:
        return {}
    gains: dict[int, list[int]] = {}
    for label, was, is_now in zip(labels, old, new, strict=False):
        gains.setdefault(label, []).append(int(is_now) - int(was))
    return {label: (100 * sum(found) / len(found), len(found)) for label, found in gains.items()}


def _span(rows: Sequence[dict[int, tuple[float, int]]], label: int) -> str:
    """On how many images of a class the rows of a panel rest: fewest to most."""
    counts = {row.get(label, (0.0, 0))[1] for row in rows if row} or {0}
    return "–".join(str(count) for count in sorted({min(counts), max(counts)}))


def _draw_heat_maps(
    names: Sequence[str],
    classes: Sequence[dict[int, str]],
    cases: Sequence[tuple[str, str]],
    changes: Sequence[Sequence[dict[int, tuple[float, int]]]],
) -> str:
    """One map a case below the other: a row a defence, a column a class."""
    matplotlib = require("matplotlib", "evaluate")
    patches = require("matplotlib.patches", "evaluate")
    colors = matplotlib.colormaps["PuOr"]
    most = max(10.0, *(abs(v) for panel in changes for row in panel for v, _ in row.values()))
    # Panels that agree in their classes share the labels below the last of them.
    labelled = [
        len(names) > 5 or index == len(cases) - 1 or found != classes[index + 1]
        for index, found in enumerate(classes)
    ]
    slanted = 0.12 + 0.06 * max(len(name) for found in classes for name in found.values())
    height = 0.62 + 0.27 * len(names) + slanted * sum(labelled) / len(cases)
    width = 1.3 + 0.05 * max(len(_short(name)) for name in names) + 0.56 * max(4, len(classes[0]))
    figure, axes = panels(len(cases), 1, (width, height))
    for panel, (title, sense), rows, found, shown in zip(
        axes, cases, changes, classes, labelled, strict=True
    ):
        add_title(panel, title, sense)
        for y, row in enumerate(rows):
            for x, label in enumerate(found):
                value, _ = row.get(label, (None, 0))
                shade = (0.95, 0.95, 0.94) if value is None else colors(0.5 + 0.5 * value / most)
                box = patches.Rectangle(
                    (x - 0.5, y - 0.5), 1, 1, facecolor=shade, edgecolor="white", linewidth=1.5
                )
                panel.add_patch(box)
                dark = _luminance(shade) < 0.2
                text = "–" if value is None else _signed(value)
                color = "white" if dark else INK
                panel.text(x, y, text, ha="center", va="center", fontsize=8, color=color)
        panel.set(xlim=(-0.5, len(found) - 0.5), ylim=(len(names) - 0.5, -0.5))
        panel.set_yticks(range(len(names)), [_short(name) for name in names], color=INK)
        labels = list(found.values()) if shown else [""] * len(found)
        panel.set_xticks(range(len(found)), labels)
        panel.tick_params(axis="x", labelrotation=40, labelcolor=INK, pad=1)
        for text in panel.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
        panel.grid(visible=False)
        for spine in panel.spines.values():
            spine.set_visible(False)
    return svg(figure, "Change of each class's accuracy by each defence, in percentage points")


def _luminance(color: Sequence[float]) -> float:
    """Relative luminance of an sRGB colour, with its curve taken as a power."""
    weighted = zip((0.2126, 0.7152, 0.0722), color, strict=False)
    return sum(weight * value**2.2 for weight, value in weighted)


def _signed(points: float) -> str:
    text = f"{points:+.0f}".replace("-", "−")
    return "0" if text in ("+0", "−0") else text


def attacks_at_bounds(record: Record, norm: str) -> list[str]:
    """Return the attacks behind `accuracy_against_eps`, as people write them."""
    rows = [r for r in record["rows"] if r["norm"] == norm and r["eps"] is not None]
    return list(dict.fromkeys(attack_name(row["attack"]) for row in rows))
