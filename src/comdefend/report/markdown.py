"""The summary of an evaluation in Markdown."""

import re
from collections.abc import Sequence

from comdefend.evaluation.findings import SUBMISSIONS
from comdefend.evaluation.record import Record
from comdefend.evaluation.statistics import Share, survivors
from comdefend.report.resubmission import RESUBMISSION_NOTE, resubmissions, times
from comdefend.report.summary import attack_name, cell_rows, columns_of, show, summarize


def markdown_table(record: Record) -> str:
    """Return the summary in Markdown: a table for each attack, its bounds from left to right.

    Cells hold the figures that the table's heading names, as in ``31 % / 0 %``; a figure on fewer
    images than the sample is followed by their number. A line below says which attacks the
    adaptive figures count, and on which images.
    """
    summary = summarize(record)

    def figure(share: Share | None, digits: int = 0) -> str:
        return _figure(share, record, digits)

    parts = []
    for family in summary.families or [[]]:
        columns = [summary.columns[index] for index in family]
        title = f"{columns[0].family}: {columns[0].heading}" if columns else "defence"
        lines = [
            table_row([escape(title), "clean", *(column.bound for column in columns)]),
            table_row(["---", "---:", *("---:" for _ in columns)]),
        ]
        # An attack made on one classifier and tried on another says nothing about the first.
        shown = [line for line in summary.lines if any(line.cells[i][0] for i in family)]
        for line in shown or summary.lines:
            cells = [" / ".join(figure(share) for share in line.cells[index]) for index in family]
            lines.append(table_row([escape(line.defense), figure(line.clean, 1), *cells]))
        parts.append("\n".join(lines))
    if note := adaptive_note(record):
        parts.append(note)
    if corrupted := corruptions(record):
        names = next(iter(corrupted.values()))
        lines = [
            table_row(["no attack, but", *map(escape, names)]),
            table_row(["---", *("---:" for _ in names)]),
        ]
        for name, shares in corrupted.items():
            lines.append(table_row([escape(name), *map(figure, shares.values())]))
        parts.append("\n".join(lines))
    parts += _resubmitted(record)
    return "\n\n".join(parts) + "\n"


def _figure(share: Share | None, record: Record, digits: int = 0) -> str:
    count = f" ({share.images})" if share and share.images != record.data.images else ""
    return show(share, digits) + count


def _resubmitted(record: Record) -> list[str]:
    """Return the table of what draws at random, and a note; nothing where nothing does."""
    submitted = resubmissions(record)
    if not submitted:
        return []
    counts = [f"submitted {times(count)}" for count in SUBMISSIONS]
    lines = [
        table_row(["draws at random", "attack", "mean of draws", *counts]),
        table_row(["---", "---", "---:", *("---:" for _ in counts)]),
    ]
    for line in submitted:
        cells = [
            " / ".join(_figure(share, record) for share in cell) for cell in (line.mean, *line.left)
        ]
        lines.append(table_row([escape(line.defense), escape(line.label), *cells]))
    return ["\n".join(lines), RESUBMISSION_NOTE]


def adaptive_note(record: Record) -> str:
    """Say what the adaptive figures of a record count; nothing where it has none."""
    names: dict[bool, dict[str, None]] = {True: {}, False: {}}
    for row in record.results:
        if row.threat == "adaptive":
            steps = f"-{row.steps}" if row.steps else ""
            names[row.eps is not None][attack_name(str(row.attack)) + steps] = None
    bounded, unbounded = (", ".join(names[key]) for key in (True, False))
    if not bounded and not unbounded:
        return ""
    parts = ["In brackets: the number of images, where it is not the whole sample."]
    if bounded:
        parts.append(
            "Adaptive figures within a bound count, for each image, the worst of all attacks "
            f"within it: those through the pipeline ({bounded}) and query attacks, but not those "
            "without a bound."
        )
    if unbounded:
        parts.append(
            "Where an attack looks for the smallest perturbation, the adaptive figure counts the "
            f"worse of the same attack on the classifier and through the pipeline ({unbounded})."
        )
    fewer, higher = _compared(record)
    if fewer:
        cells = f"in {higher} of the cells" if higher else "in no cell"
        parts.append(
            "The two figures of a cell may be on different images, the adaptive one on the first "
            "of the sample, so it can look higher. On the images that both were measured on, it is "
            f"higher {cells}."
        )
    return " ".join(parts)


def _compared(record: Record) -> tuple[int, int]:
    """Count the cells with figures on different numbers of images, and the odd ones.

    The odd ones are those where the adaptive figure is higher on the images of both.
    """
    fewer = higher = 0
    for column in columns_of(record):
        for name in record.defense_names:
            rows = cell_rows(record, name, column)
            verdicts = [correct for correct in map(survivors, rows) if correct]
            if len(verdicts) == 2:
                count = min(map(len, verdicts))
                shown, adaptive = (correct[:count].count("1") for correct in verdicts)
                fewer += len(verdicts[0]) != len(verdicts[1])
                higher += adaptive > shown
    return fewer, higher


def corruptions(record: Record) -> dict[str, dict[str, Share]]:
    """Return the accuracy on images that were changed without an attacker: defence, what, share."""
    return {
        defense.name: {
            each.corruption: Share(each.accuracy, *each.interval, each.images)
            for each in defense.corruptions
        }
        for defense in record.defenses
        if defense.corruptions
    }


def table_row(cells: Sequence[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def escape(text: str) -> str:
    """Return a text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\|`*<\[])", r"\\\1", " ".join(text.split()))
