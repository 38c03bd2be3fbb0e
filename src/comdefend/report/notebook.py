"""The summary of an evaluation for a notebook and for a terminal.

Both have one column for each bound: the accuracy under all attacks within it, image by image.
"""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from comdefend.evaluation.record import Record
from comdefend.evaluation.statistics import Share
from comdefend.report import pages
from comdefend.report.summary import (
    Column,
    Summary,
    attack_name,
    by_bound,
    headline,
    norm_name,
    percent,
    summarize,
)


def summary_html(record: Record) -> str:
    """Return the summary as HTML, in the colours of the notebook around it."""
    summary = summarize(record, by_bound(record))
    return pages.render(
        "notebook.html",
        record=record,
        summary=summary,
        headline=headline(summarize(record)),
        note=f"{_note(record)} In brackets: the number of images, where it is smaller.",
    )


def summary_text(record: Record) -> str:
    """Return the summary as text without colours, as wide as the terminal."""
    console = Console(
        color_system=None, force_jupyter=False, highlight=False, markup=False, emoji=False
    )
    summary = summarize(record, by_bound(record))
    with console.capture() as capture:
        console.print(headline(summarize(record)))
        console.print(_table(summary))
        console.print(
            f"{_note(record)} In %; two figures are oblivious / adaptive.{_fewer(record, summary)}"
        )
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _table(summary: Summary) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("defence", overflow="fold")
    table.add_column("clean", justify="right")
    for column in summary.columns:
        table.add_column(Text(_heading(column)), justify="right", no_wrap=True)
    for line in summary.lines:
        cells = [" / ".join(_figure(share) for share in cell) for cell in line.cells]
        table.add_row(Text(line.defense), _figure(line.clean), *cells)
    return table


def _heading(column: Column) -> str:
    """Return two lines: what is narrow leaves room for names."""
    bound = f"{norm_name(column.norm)} {column.bound}"
    if column.threat == "query":
        return f"query\n{bound}"
    if column.attack is None:
        return bound.replace(" ", "\n")
    return f"{attack_name(column.attack)}\n{norm_name(column.norm)}"


def _figure(share: Share | None) -> str:
    return "–" if share is None else percent(share.accuracy).removesuffix(" %")


def _note(record: Record) -> str:
    data = record.data
    return (
        f"Accuracy of {record.classifier} on {data.images} images of {data.source}, seed "
        f"{record.seed}; under several attacks, the worst for each image."
    )


def _fewer(record: Record, summary: Summary) -> str:
    shares = [share for line in summary.lines for cell in line.cells for share in cell if share]
    fewest = min((share.images for share in shares), default=record.data.images)
    return f" Some are on fewer images, from {fewest}." if fewest < record.data.images else ""
