"""Markdown, as the documents write it."""

import re
import textwrap
from collections.abc import Iterable, Sequence

from comdefend.evaluation.record import Record
from comdefend.report.markdown import table_row
from comdefend.report.summary import attack_name

EMPTY = "–"
_ITEM = re.compile(r"- |\d+\. ")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> str:
    """Return a table whose first ``names`` columns are text and whose others are figures."""
    rule = ["---" if column < names else "---:" for column in range(len(head))]
    return "\n".join(map(table_row, [head, rule, *rows]))


def sample(record: Record, attacks: Iterable[str | None] = ()) -> str:
    """Return on which images a table stands, and which attacks were made on fewer of them."""
    fewer = {
        attack_name(row.attack): row.images
        for row in record.results
        if row.attack and row.attack in set(attacks) and row.images < record.data.images
    }
    first = "".join(f"; {name} on the first {count}" for name, count in sorted(fewer.items()))
    return (
        f"{record.data.images} {record.data.split} images of `{record.data.source}` (sample of "
        f"seed {record.data.seed}){first}; classifier `{record.classifier}`"
    )


def checks(record: Record) -> str:
    """Return how many sanity checks hold, and name those that do not."""
    failed = [check for check in record.checks if check.passed is False]
    line = f"{len(record.checks) - len(failed)} of {len(record.checks)} sanity checks hold"
    if not failed:
        return f"{line}."
    return "\n".join([f"{line}:", "", *(f"- fails: {c.name} ({c.detail})" for c in failed)])


def finished(text: str) -> str:
    """Return a document as it is written: wrapped, and in the words of today.

    Some rows of old records are called "12 bits a pixel".
    """
    return rewrap(re.sub(r"(bits?) a pixel", r"\1 per pixel", text))


def rewrap(text: str, width: int = 100) -> str:
    """Wrap the prose of a document anew, since figures filled in leave its lines ragged."""
    lines: list[str] = []
    prose: list[str] = []
    fenced = False

    def flush() -> None:
        if prose:
            words = " ".join(prose)
            item = _ITEM.match(words)
            lines.extend(_wrap(words, width, " " * len(item[0]) if item else ""))
            prose.clear()

    for line in text.splitlines():
        fence = line.startswith("```")
        if fence or fenced or not line or line.startswith(("|", "#", "<", "![")):
            flush()
            lines.append(line)
            fenced ^= fence
        else:
            # A number that begins a line of a paragraph, as in "leaves 11 of\n21. It", is no item.
            if line.startswith("- ") or (_ITEM.match(line) and prose and _ITEM.match(prose[0])):
                flush()
            prose.append(line.strip())
    flush()
    return "\n".join(lines) + "\n"


def _wrap(words: str, width: int, indent: str) -> list[str]:
    # A command in backticks stays in one line, where it can be copied.
    bound = re.sub(r"`[^`]+`", lambda code: code[0].replace(" ", "\0"), words)
    lines = textwrap.wrap(
        bound,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\0", " ") for line in lines]
