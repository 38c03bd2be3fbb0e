"""What is left where an attacker may submit an image several times, beside the mean over draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from comdefend.evaluation.findings import SUBMISSIONS
from comdefend.evaluation.record import Record, Row
from comdefend.evaluation.statistics import Judged, Share, worst_case
from comdefend.report.summary import by_bound, cell_rows

RESUBMISSION_NOTE = (
    "Submitted several times, one image counts as lost as soon as one draw is wrong. On clean "
    "images that is what chance alone breaks, without any attack."
)


@dataclass(frozen=True)
class Resubmitted:
    """One defence that draws at random, under all attacks within one bound.

    Attributes:
        defense: Its name.
        attack: ``clean``, or attack and bound as people write them.
        heading: What the figures of a cell are, in their order, as `Column.heading`.
        mean: The shares by the mean over draws.
        left: For each of `SUBMISSIONS` the shares where an image may be submitted so many times.
    """

    defense: str
    attack: str
    heading: str
    mean: tuple[Share | None, ...]
    left: tuple[tuple[Share | None, ...], ...]

    @property
    def label(self) -> str:
        """Attack and figures."""
        return f"{self.attack}: {self.heading}" if self.heading else self.attack


def times(count: int) -> str:
    """Return how often, in words."""
    return "once" if count == 1 else f"{count} times"


def resubmissions(record: Record) -> list[Resubmitted]:
    """Return what is left of whatever draws at random; nothing where nothing was measured.

    As in every summary, an oblivious figure has the adaptive one within the same bound beside it,
    and figures count the worst of several attacks, image by image.
    """
    columns = by_bound(record)
    lines = []
    for name in record.defense_names:
        clean: tuple[list[Row], ...] = (record.rows(defense=name, threat="clean"),)
        groups = [("clean", "", clean)]
        groups += [(c.label, c.heading, cell_rows(record, name, c)) for c in columns]
        for attack, heading, cell in groups:
            if any(row.resubmitted for rows in cell for row in rows):
                left = tuple(_shares(cell, _submitted(count)) for count in SUBMISSIONS)
                lines.append(Resubmitted(name, attack, heading, _shares(cell, list), left))
    return lines


def _shares(
    cell: Sequence[list[Row]], judged: Callable[[list[Row]], Sequence[Judged]]
) -> tuple[Share | None, ...]:
    return tuple(worst_case(judged(rows)) for rows in cell)


def _submitted(count: int) -> Callable[[list[Row]], Sequence[Judged]]:
    """Return what takes the figures after so many submissions from rows."""
    return lambda rows: [e for row in rows for e in row.resubmitted if e.submissions == count]
