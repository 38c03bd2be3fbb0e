"""The figure of what defences do to each class."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import altair as alt

from comdefend.evaluation.record import UNDEFENDED, Record, Row
from comdefend.evaluation.statistics import survivors
from comdefend.report.charts import Figure, heat_map
from comdefend.report.summary import SENSES, cell_rows, headline_choice, norm_name, summarize

_MOST_CLASSES = 24


class _Change(NamedTuple):
    """Percentage points that a class gains, on so many images; None on none."""

    points: float | None
    images: int


_NOTHING = _Change(None, 0)
_Changes = Mapping[int, _Change]


def class_changes(record: Record) -> Figure | None:
    """Draw how much each defence changes the accuracy of each class, in percentage points.

    One map is for clean images, two are for the attack that the headline is about: oblivious and
    adaptive. Of many classes, those are shown that change most on clean images.

    Returns:
        None where the record holds nothing to show.
    """
    defended = [name for name in record.defense_names if name != UNDEFENDED]
    cases = {title: _changes(record, defended, rows) for title, rows in _cases(record)}
    every = [row for case in cases.values() for row in case.values()]
    classes = sorted({label for row in every for label in row})
    if not classes:
        return None
    if len(classes) > _MOST_CLASSES:
        clean = next(iter(cases.values())).values()
        classes.sort(key=lambda label: -max(abs(row.get(label, _NOTHING)[0] or 0) for row in clean))
        classes = sorted(classes[:_MOST_CLASSES])
    most = max(10.0, *(abs(change.points or 0) for row in every for change in row.values()))
    tips = {"name": "defence", "label": "class", "text": "points", "images": "images"}
    maps = []
    for (title, sense), case in cases.items():
        # Adaptive attacks are often made on fewer images, and not on as many for every defence.
        labels = {
            label: f"{_class_name(record, label)} ({_span(case.values(), label)})"
            for label in classes
        }
        cells = [
            {"name": name, "label": text, "value": change.points, "images": change.images}
            | {"text": _signed(change.points)}
            for name, row in case.items()
            for label, text in labels.items()
            for change in (row.get(label, _NOTHING),)
        ]
        heading = alt.Title(title, subtitle=sense)
        maps.append(heat_map(cells, defended, list(labels.values()), most, heading, tips))
    return Figure(
        "Class by class",
        "Percentage points by which a defence changes the accuracy of each class, compared with no "
        "defence under the same attack; in brackets the number of images of the class. With few "
        "images per class, changes of several points are chance.",
        maps,
        across=1,
    )


def _cases(record: Record) -> Iterator[tuple[tuple[str, str], dict[str, list[Row]]]]:
    """Yield each map's title and what it means, and the rows that it counts by defence."""
    names = record.defense_names
    yield (
        ("Clean", "images as they are"),
        {name: record.rows(defense=name, threat="clean") for name in names},
    )
    choice = headline_choice(summarize(record))
    if choice is None or choice[1] is None:
        return
    column = choice[1]
    pairs = {name: cell_rows(record, name, column) for name in names}
    if column.attack is not None:
        sense = f"oblivious: {SENSES['oblivious']}"
        yield (column.label, sense), {name: pair[0] for name, pair in pairs.items()}
    bound = column.label if column.eps is None else f"{norm_name(column.norm)} {column.bound}"
    sense = f"adaptive: {SENSES['adaptive']}"
    yield (bound, sense), {name: pair[1] for name, pair in pairs.items()}


def _changes(
    record: Record, defended: Sequence[str], rows: Mapping[str, Sequence[Row]]
) -> dict[str, _Changes]:
    """Return what each class gains by each defence, on the images that both were measured on."""
    changes: dict[str, _Changes] = {}
    before = survivors(rows.get(UNDEFENDED, ())) or ""
    for name in defended:
        gains: dict[int, list[int]] = {}
        after = survivors(rows[name]) or ""
        for label, was, is_now in zip(record.labels, before, after, strict=False):
            gains.setdefault(label, []).append(int(is_now) - int(was))
        changes[name] = {
            label: _Change(100 * sum(each) / len(each), len(each)) for label, each in gains.items()
        }
    return changes


def _class_name(record: Record, label: int) -> str:
    """Return a class's name; with its number where two classes have the same name."""
    classes = record.data.classes
    if label >= len(classes):
        return str(label)
    return classes[label] + (f" {label}" if classes.count(classes[label]) > 1 else "")


def _span(rows: Collection[_Changes], label: int) -> str:
    """Return how many images of a class the rows of a map are measured on: fewest to most."""
    counts = {row.get(label, _NOTHING).images for row in rows if row} or {0}
    return "–".join(str(count) for count in sorted({min(counts), max(counts)}))


def _signed(points: float | None) -> str:
    if points is None:
        return "–"
    text = f"{points:+.0f}".replace("-", "−")
    return "0" if text in ("+0", "−0") else text
