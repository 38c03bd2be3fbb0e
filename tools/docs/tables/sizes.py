"""Where to purify photographs that are larger than what the classifier takes."""

from comdefend.report.summary import percent
from tools.docs.markdown import table
from tools.docs.records import read
from tools.docs.tables.speed import attack_title
from tools.photograph_sizes import Sizes


def sizes() -> str:
    """Return what stays the same where a defence works before the resizing, or after it."""
    record = read(Sizes, "photograph-sizes")
    head = ["defence", "purified", "clean", *(attack_title(a) for a in record.attacks)]
    rows = [
        [
            f"`{row.defense}`",
            f"{row.place} the resizing",
            *(percent(share) for share in (row.clean, *row.attacked)),
        ]
        for row in record.rows
    ]
    return table(head, rows)
