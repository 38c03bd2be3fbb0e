"""The summary of an evaluation: which figures are shown, and which stand beside each other.

Everything that presents a record, the Markdown table, the charts and the report, selects its
figures here, so that all follow one rule: no accuracy under an attack that did not know about the
defence is shown without the accuracy under attacks that did.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from comdefend.attacks import ATTACKS
from comdefend.evaluation.record import ANY, UNDEFENDED, Record, Row
from comdefend.evaluation.statistics import Share, worst_case

NOT_MEASURED = "not measured"
SENSES = {
    "oblivious": "attacker does not know about the defence",
    "transfer": "attack made on another classifier",
    "adaptive": "attacker attacks through the defence",
    "query": "attacker sees only answers",
}
"""Threat model -> what it means, in the order of figures."""
# The bound that the field reports most, for headlines.
_USUAL_NORM, _USUAL_EPS = "Linf", 8
# The order of columns; every one has its adaptive figure.
_THREATS = ("oblivious", "transfer", "query")


@dataclass(frozen=True)
class Column:
    """One attack at one bound.

    Attributes:
        threat: ``oblivious``, ``transfer`` or ``query``.
        attack: Its name; None for all attacks within this bound.
        norm: ``Linf``, ``L2`` or None.
        eps: In units of 1/255; None where the attack looks for the smallest perturbation.
        variant: In which of several ways it was made, as `Row.variant`; None for all of them, or
            where there is one.
    """

    threat: str
    attack: str | None
    norm: str | None
    eps: float | None
    variant: str | None = None

    @property
    def family(self) -> str:
        """The attack and its norm, as people write them."""
        attack = "all attacks" if self.attack is None else attack_name(self.attack)
        variant = "" if self.variant is None else f"({self.variant})"
        return " ".join(part for part in (attack, variant, norm_name(self.norm)) if part)

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
    return ATTACKS[attack].title if attack in ATTACKS else attack


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


def cell_rows(record: Record, defense: str, column: Column) -> tuple[list[Row], ...]:
    """Return the rows behind each figure of a cell.

    The first are those of the column's own attack, or of all within its bound. The second, except
    for query attacks, are *all* adaptive attacks within the same bound, whatever their name: what
    remains under the best of them is what the defence is worth there. Where there is no bound,
    attacks of different names do not compare, and only the same one counts.
    """
    shown = record.rows(
        defense=defense,
        threat=column.threat,
        attack=ANY if column.attack is None else column.attack,
        norm=column.norm,
        eps=column.eps,
        variant=ANY if column.variant is None else column.variant,
    )
    if column.threat == "query":
        return (shown,)
    attack = ANY if column.eps is not None else column.attack
    adaptive = record.rows(
        defense=defense, threat="adaptive", attack=attack, norm=column.norm, eps=column.eps
    )
    return shown, adaptive


def summarize(record: Record, columns: Sequence[Column] | None = None) -> Summary:
    """Select the figures that stand for a record.

    Args:
        record: An evaluation.
        columns: By default those of `columns_of`.
    """
    columns = list(columns_of(record) if columns is None else columns)
    lines = [
        Line(
            name,
            worst_case(record.rows(defense=name, threat="clean")),
            [
                tuple(worst_case(rows) for rows in cell_rows(record, name, column))
                for column in columns
            ],
        )
        for name in record.defense_names
    ]
    return Summary(columns, lines)


def headline_choice(summary: Summary) -> tuple[Line, Column | None] | None:
    """Return the defence and the attack that stand for the whole.

    The defence is the first one, in the experiment's order. The attack is one with both figures
    measured if there is one, in L∞ at 8/255 if possible and otherwise at the largest bound, and of
    those the one that does most harm to the undefended classifier.
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
        f"{sentence}; under {column.label} it {unaware} if the attacker does not know about the "
        f"defence, and {'was ' if adaptive is None else 'is '}{show(adaptive)} if the attacker "
        "does."
    )


def columns_of(record: Record) -> list[Column]:
    """Return a record's columns: attacks in the order of the rows, bounds from small to large."""
    variants: dict[tuple[str, str | None, str | None], set[str]] = {}
    for row in record.results:
        if row.threat != "adaptive":
            variants.setdefault((row.threat, row.attack, row.norm), set()).add(row.variant)
    every = [
        Column(
            row.threat, row.attack, row.norm, row.eps,
            row.variant if len(variants.get((row.threat, row.attack, row.norm), ())) > 1 else None,
        )
        for row in record.results
        if row.threat != "clean"
    ]  # fmt: skip
    known = {(column.norm, column.eps) for column in every if column.threat == "oblivious"}
    columns: list[Column] = []
    for column in every:
        if column.threat != "adaptive":
            columns.append(column)
        elif column.eps is None:
            columns.append(Column("oblivious", column.attack, column.norm, None))
        elif (column.norm, column.eps) not in known:
            columns.append(Column("oblivious", None, column.norm, column.eps))
    families = list(dict.fromkeys((c.attack, c.norm, c.variant) for c in columns))
    return sorted(
        dict.fromkeys(columns),
        key=lambda c: (
            _THREATS.index(c.threat),
            families.index((c.attack, c.norm, c.variant)),
            float("inf") if c.eps is None else c.eps,
        ),
    )


def by_bound(record: Record) -> list[Column]:
    """Return fewer columns: all attacks within a bound together, and none made elsewhere."""
    columns = list(
        dict.fromkeys(
            replace(column, variant=None)
            for column in columns_of(record)
            if column.threat != "transfer"
        )
    )
    bounded = {replace(column, attack=None) for column in columns if column.eps is not None}
    return [
        *sorted(bounded, key=lambda c: (_THREATS.index(c.threat), c.norm or "", c.eps)),
        *(column for column in columns if column.eps is None),
    ]


def _change(before: Share | None, after: Share | None, digits: int) -> str:
    if after is None:
        return f"was {NOT_MEASURED}"
    if before is None:
        return f"is {show(after, digits)}"
    old, new = show(before, digits), show(after, digits)
    return f"stays at {new}" if old == new else f"goes from {old} to {new}"
