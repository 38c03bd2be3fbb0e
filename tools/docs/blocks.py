"""The commands and the Python code in documents, as a test of the installs runs them.

What a block needs stands in a comment on the line before it, which no reader of the page sees:
``<!-- needs: EXTRA -->``, or ``<!-- needs: EXTRA; adds: OPTIONS -->`` where the test gives its
commands further options so that they end soon, or ``<!-- needs: EXTRA; serves -->`` for a command
that serves a page until it is stopped, or ``<!-- not run: REASON -->``.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tools.docs.records import ROOT

NO_EXTRA = "none"
_FENCED = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_MARK = re.compile(
    r"needs: (?P<needs>\w+)(?:; adds: (?P<adds>.+)|(?P<serves>; serves))?|not run: (?P<reason>.+)"
)
_RUN = ("", "python")
_SHOWN = ("text", "yaml")


@dataclass(frozen=True)
class Block:
    """A block of code of a document.

    Attributes:
        language: ``python``, or nothing for commands of a shell.
        text: The code, with the options that the test adds.
        needs: The extra that it needs; `NO_EXTRA` where every install has what it takes.
        skipped: Why it is not run; empty where it is.
        serves: It serves a page at the address that it prints first, until it is interrupted.
    """

    language: str
    text: str
    needs: str = NO_EXTRA
    skipped: str = ""
    serves: bool = False


def pages() -> list[Path]:
    """Return the documents whose code is run."""
    return [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]


def extras() -> list[str]:
    """Return the extras that the README documents, and `NO_EXTRA` first."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("| extra | for |")[2].partition("\n\n")[0]
    return [NO_EXTRA, *re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)]


def blocks(page: Path) -> list[Block]:
    """Return the commands and the Python code of a document.

    Raises:
        ValueError: A comment before a block, or its language, is none of those above.
    """
    found = []
    for match in _FENCED.finditer(page.read_text(encoding="utf-8")):
        mark = _MARK.fullmatch(match["mark"] or f"needs: {NO_EXTRA}")
        if mark is None:
            raise ValueError(f"{page}: '{match['mark']}' says neither needs: nor not run:")
        if match["language"] in _RUN:
            needs, adds, reason = mark["needs"] or NO_EXTRA, mark["adds"], mark["reason"] or ""
            text = _with_options(match["text"], adds) if adds else match["text"]
            found.append(Block(match["language"], text, needs, reason, bool(mark["serves"])))
        elif match["language"] not in _SHOWN:
            raise ValueError(f"{page}: code in '{match['language']}'; a text is ```text")
    return found


def _with_options(commands: str, options: str) -> str:
    """Return commands, those that take long with further options; the last of two counts."""
    return re.sub(
        r"^comdefend (?:train|certify) .*$", rf"\g<0> {options}", commands, flags=re.MULTILINE
    )
