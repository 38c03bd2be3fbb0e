"""The summary of an evaluation: which figures are shown, and which stand beside each other.

A record is the dict that an evaluation writes (`comdefend.evaluation.record`). Everything that
presents one, the Markdown table, the figures and the report, selects its figures here, so that all
follow one rule: no accuracy under an attack that did not know of the defence is shown without the
accuracy under attacks that did.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from comdefend.evaluation.record import wilson_interval

Record = dict[str, Any]
Row = dict[str, Any]

UNDEFENDED = "none"
NOT_MEASURED = "not measured"
THREATS = {
    "oblivious": "The attacker has the classifier and does not know of the defence.",
    "adaptive": "The attacker has the whole pipeline, defence included, and attacks through it.",
    "query": "The attacker sees only what the whole pipeline answers, and no gradients.",
    "transfer": "The attack was made on another classifier and is tried on this one.",
}
# The bound that the field reports most, for headlines.
_USUAL_NORM, _USUAL_EPS = "Linf", 8

_ATTACK_NAMES = {
    "autoattack": "AutoAttack",
    "bim": "BIM",
    "cw": "C&W",
    "deepfool": "DeepFool",
    "fgsm": "FGSM",
    "hopskipjump": "HopSkipJump",
    "mi-fgsm": "MI-FGSM",
    "pgd": "PGD",
    "square": "Square",
}


@dataclass(frozen=True)
class Share:
    """A share of images that were classified rightly, with its 95 % Wilson interval."""

    accuracy: float
    low: float
    high: float
    images: int


@dataclass(frozen=True)
class Column:
    """One attack at one bound.

    Attributes:
        threat: ``oblivious``, ``transfer`` or ``query``.
        attack: Its name; None where only adaptive attacks were made within this bound.
        norm: ``Linf``, ``L2`` or None.
        eps: In units of 1/255; None where the attack looks for the smallest perturbation.
    """

    threat: str
    attack: str | None
    norm: str | None
    eps: float | None

    @property
    def family(self) -> str:
        """The attack and its norm, as people write them."""
        attack = "any attack" if self.attack is None else attack_name(self.attack)
        return " ".join(part for part in (attack, norm_name(self.norm)) if part)

    @property
    def bound(self) -> str:
        """The size of the perturbation, as people write it."""
        return "smallest found" if self.eps is None else f"{self.eps:g}/255"

    @property
    def label(self) -> str:
        """Attack, norm and bound."""
        return self.family if self.eps is None else f"{self.family} {self.bound}"

    @property
    def heading(self) -> str:
        """What the figures of a cell are, in their order."""
        return "query" if self.threat == "query" else f"{self.threat} / adaptive"


@dataclass(frozen=True)
class Line:
    """One defence of the summary.

    Attributes:
        defense: Its name.
        clean: Accuracy on images as they are; None where it was not measured.
        cells: For each column the shares that stand beside each other, as `Column.heading` names
            them; None for one that was not measured.
    """

    defense: str
    clean: Share | None
    cells: list[tuple[Share | None, ...]]


@dataclass(frozen=True)
class Summary:
    """Defences as lines, attacks as columns."""

    columns: list[Column]
    lines: list[Line]

    @property
    def families(self) -> list[list[int]]:
        """The columns' places, those of one attack and norm together."""

        def family(index: int) -> tuple[str, str]:
            return self.columns[index].threat, self.columns[index].family

        return [list(group) for _, group in groupby(range(len(self.columns)), family)]

    @property
    def reach(self) -> float:
        """How far the widest interval reaches to either side, as a share; 0 where all is empty."""
        shares = [s for line in self.lines for cell in line.cells for s in (line.clean, *cell) if s]
        return max((max(s.high - s.accuracy, s.accuracy - s.low) for s in shares), default=0.0)


def attack_name(attack: str) -> str:
    """Return an attack's name as people write it."""
    return _ATTACK_NAMES.get(attack, attack)


def norm_name(norm: str | None) -> str:
    """Return a norm as people write it; nothing for none."""
    return "" if norm is None else norm.replace("Linf", "L∞")


def percent(share: float, digits: int = 0) -> str:
    """Return a share in percent; one that is neither 0 nor 1 is never rounded to either.

    Args:
        share: In [0, 1].
        digits: After the point.
    """
    text = f"{100 * share:.{digits}f}"
    if float(text) in (0, 100) and share not in (0, 1):
        text = f"{100 * share:.1f}"
        text = {"0.0": "< 0.1", "100.0": "> 99.9"}.get(text, text)
    return f"{text} %"


def show(share: Share | None, digits: int = 0) -> str:
    """Return a share in percent, or that it was not measured."""
    return NOT_MEASURED if share is None else percent(share.accuracy, digits)


def defense_names(record: Record) -> list[str]:
    """Return the defences of a record, in its order."""
    names = [defense["name"] for defense in record.get("defenses", [])]
    names += [row["defense"] for row in record["rows"]]
    return list(dict.fromkeys(names))


def select(record: Record, defense: str, threat: str) -> list[Row]:
    """Return the rows of a defence under a threat model.

    With no defence there is nothing to know of, so every oblivious attack on the bare classifier
    is an adaptive one as well.
    """
    threats = {threat}
    if defense == UNDEFENDED and threat == "adaptive":
        threats.add("oblivious")
    return [r for r in record["rows"] if r["defense"] == defense and r["threat"] in threats]


def survivors(rows: Sequence[Row]) -> str | None:
    """Return which images are classified rightly under every one of these attacks.

    Attacks on fewer images were made on the first ones; what counts is the images that all attacks
    were made on.

    Returns:
        "1" or "0" for each image, or None where there are no rows or one lacks its images.
    """
    if not rows or not all(row.get("correct") for row in rows):
        return None
    # The shortest ends the zip.
    images = zip(*(row["correct"] for row in rows), strict=False)
    return "".join("1" if set(image) == {"1"} else "0" for image in images)


def combine(rows: Sequence[Row]) -> Share | None:
    """Return the accuracy under the worst of these attacks, image by image.

    Where a row does not say which images were classified rightly, the row of the lowest accuracy
    stands for all.
    """
    if not rows:
        return None
    correct = survivors(rows) if len(rows) > 1 else None
    if correct is None:
        lowest = min(rows, key=lambda row: row["accuracy"])
        low, high = lowest["interval"]
        return Share(lowest["accuracy"], low, high, lowest["images"])
    hits, count = correct.count("1"), len(correct)
    return Share(hits / count, *wilson_interval(hits, count), count)


def cell_rows(record: Record, defense: str, column: Column) -> tuple[list[Row], ...]:
    """Return the rows behind each figure of a cell.

    The first are those of the column's own attack. The second, in all columns but those of query
    attacks, are *all* adaptive attacks within the same bound, whatever their name: what remains
    under the best of them is what the defence is worth there. Where there is no bound, attacks of
    different names are not comparable, and only the same one counts.
    """
    shown = [
        row
        for row in select(record, defense, column.threat)
        if _key(row) == (column.attack, column.norm, column.eps)
    ]
    if column.threat == "query":
        return (shown,)
    adaptive = [
        row
        for row in select(record, defense, "adaptive")
        if (row["norm"], row["eps"]) == (column.norm, column.eps)
        and (column.eps is not None or row["attack"] == column.attack)
    ]
    return shown, adaptive


def summarize(record: Record) -> Summary:
    """Select the figures that stand for a record."""
    columns = _columns(record["rows"])
    lines = [
        Line(
            name,
            combine(select(record, name, "clean")),
            [
                tuple(combine(rows) for rows in cell_rows(record, name, column))
                for column in columns
            ],
        )
        for name in defense_names(record)
    ]
    return Summary(columns, lines)


def headline_choice(summary: Summary) -> tuple[Line, Column | None] | None:
    """Return the defence and the attack that stand for the whole.

    The defence is the first that is one, as whoever planned the evaluation put it. The attack is
    one with both its figures measured where there is such, in L∞ at 8/255 if possible and else at
    the largest bound, and of those the one that does most harm to the undefended classifier.
    """
    line = next((line for line in summary.lines if line.defense != UNDEFENDED), None)
    if line is None:
        return None
    bare = next((line for line in summary.lines if line.defense == UNDEFENDED), line)

    def rank(index: int) -> tuple[Any, ...]:
        column = summary.columns[index]
        usual = (column.norm, column.eps) == (_USUAL_NORM, _USUAL_EPS)
        harm = [cells[index][0] for cells in (bare.cells, line.cells)]
        return (
            sum(share is None for share in line.cells[index]),
            not usual,
            -(column.eps or 0),
            *(1.0 if share is None else share.accuracy for share in harm),
        )

    paired = [
        index
        for index, column in enumerate(summary.columns)
        if column.threat == "oblivious" and any(line.cells[index])
    ]
    return line, summary.columns[min(paired, key=rank)] if paired else None


def headline(summary: Summary) -> str:
    """Say in one sentence what the first defence costs and buys."""
    choice = headline_choice(summary)
    if choice is None:
        return "No defence was evaluated, only the classifier alone."
    line, column = choice
    bare = next((line for line in summary.lines if line.defense == UNDEFENDED), None)
    before = None if bare is None else bare.clean
    change = _change(before, line.clean, 1)
    sentence = f"With {line.defense} as the defence, clean accuracy {change}"
    if column is None:
        return f"{sentence}; no attack was made on it."
    index = summary.columns.index(column)
    shown, adaptive = line.cells[index]
    before = None if bare is None else bare.cells[index][0]
    unaware = _change(before, shown, 0)
    return (
        f"{sentence}; under {column.label} it {unaware} if the attacker does not know of the "
        f"defence, and {'was ' if adaptive is None else 'is '}{show(adaptive)} if the attacker "
        "does."
    )


def markdown_table(record: Record) -> str:
    """Return the summary in Markdown: a table for each attack, its bounds from left to right.

    Cells hold the figures that the table's heading names, as in ``31 % / 0 %``; one that stands on
    fewer images than the sample is followed by their number. A line below says which attacks the
    adaptive figures stand for, and on which images.
    """
    summary = summarize(record)
    sample = record["data"]["images"]

    def figure(share: Share | None, digits: int = 0) -> str:
        count = f" ({share.images})" if share and share.images != sample else ""
        return show(share, digits) + count

    parts = []
    for family in summary.families or [[]]:
        columns = [summary.columns[index] for index in family]
        title = f"{columns[0].family}: {columns[0].heading}" if columns else "defence"
        lines = [
            _markdown_row([_escape(title), "clean", *(column.bound for column in columns)]),
            _markdown_row(["---", "---:", *("---:" for _ in columns)]),
        ]
        # An attack made elsewhere says nothing of the classifier that it was made on.
        shown = [line for line in summary.lines if any(line.cells[i][0] for i in family)]
        for line in shown or summary.lines:
            cells = [" / ".join(figure(share) for share in line.cells[index]) for index in family]
            lines.append(_markdown_row([_escape(line.defense), figure(line.clean, 1), *cells]))
        parts.append("\n".join(lines))
    if note := adaptive_note(record):
        parts.append(note)
    if corrupted := corruptions(record):
        found = next(iter(corrupted.values()))
        lines = [
            _markdown_row(["no attack, but", *map(_escape, found)]),
            _markdown_row(["---", *("---:" for _ in found)]),
        ]
        for name, shares in corrupted.items():
            lines.append(_markdown_row([_escape(name), *map(figure, shares.values())]))
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def adaptive_note(record: Record) -> str:
    """Say what the adaptive figures of a record stand for; nothing where it has none."""
    names: dict[bool, dict[str, None]] = {True: {}, False: {}}
    for row in record["rows"]:
        if row["threat"] == "adaptive":
            steps = f"-{row['steps']}" if row["steps"] else ""
            names[row["eps"] is not None][attack_name(row["attack"]) + steps] = None
    bounded, unbounded = (", ".join(names[key]) for key in (True, False))
    parts = []
    if bounded:
        parts.append(
            "Adaptive, within a bound: for each image the worst of the attacks within it, those "
            f"through the pipeline ({bounded}) and those by query included, those without a bound "
            "not."
        )
    if unbounded:
        parts.append(
            "Adaptive, smallest found: the worst of the same attack on the classifier and through "
            f"the pipeline ({unbounded})."
        )
    if not parts:
        return ""
    fewer, higher = _compared(record)
    if fewer:
        cells = f"{higher} of the cells" if higher else "no cell"
        parts.append(
            "The two figures of a cell may stand on different images, the adaptive one on the "
            "first of the sample, so that it can look higher. On the images that both stand on it "
            f"is higher in {cells}."
        )
    brackets = "In brackets: the number of images, where it is not the whole sample."
    return " ".join([brackets, *parts])


def _compared(record: Record) -> tuple[int, int]:
    """Count cells whose two figures stand on different numbers of images, and the odd ones.

    Those are the cells whose adaptive figure is the higher one on the images that both stand on.
    """
    fewer = higher = 0
    for column in _columns(record["rows"]):
        for name in defense_names(record):
            rows = cell_rows(record, name, column)
            found = [correct for correct in map(survivors, rows) if correct]
            if len(found) == 2:
                count = min(len(correct) for correct in found)
                shown, adaptive = (correct[:count].count("1") for correct in found)
                fewer += len(found[0]) != len(found[1])
                higher += adaptive > shown
    return fewer, higher


def corruptions(record: Record) -> dict[str, dict[str, Share]]:
    """Return the accuracy on images that were changed without an attacker: defence, what, share."""
    return {
        about["name"]: {
            found["corruption"]: Share(found["accuracy"], low, high, found["images"])
            for found in about["corruptions"]
            for low, high in [found["interval"]]
        }
        for about in record.get("defenses", [])
        if about.get("corruptions")
    }


def _key(row: Row) -> tuple[str | None, str | None, float | None]:
    return row["attack"], row["norm"], row["eps"]


def _columns(rows: Sequence[Row]) -> list[Column]:
    """Attacks in the order in which they were made, and bounds from small to large."""
    found = [Column(row["threat"], *_key(row)) for row in rows if row["threat"] != "clean"]
    known = {(column.norm, column.eps) for column in found if column.threat == "oblivious"}
    columns: list[Column] = []
    for column in found:
        if column.threat != "adaptive":
            columns.append(column)
        elif column.eps is None:
            columns.append(Column("oblivious", column.attack, column.norm, None))
        elif (column.norm, column.eps) not in known:
            columns.append(Column("oblivious", None, column.norm, column.eps))
    threats = ("oblivious", "transfer", "query")
    families = list(dict.fromkeys((c.attack, c.norm) for c in columns))
    return sorted(
        dict.fromkeys(columns),
        key=lambda c: (
            threats.index(c.threat),
            families.index((c.attack, c.norm)),
            float("inf") if c.eps is None else c.eps,
        ),
    )


def _change(before: Share | None, after: Share | None, digits: int) -> str:
    if after is None:
        return f"was {NOT_MEASURED}"
    if before is None:
        return f"is {show(after, digits)}"
    old, new = show(before, digits), show(after, digits)
    return f"stays at {new}" if old == new else f"goes from {old} to {new}"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    return re.sub(r"([\\|`*<\[])", r"\\\1", " ".join(text.split()))
