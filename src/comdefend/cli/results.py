"""What commands over many files show: a bar, notes, failures and a summary."""

import functools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from comdefend.common.places import Place


class Result(Protocol):
    """What became of one file."""

    @property
    def source(self) -> Place:
        """The file read."""

    @property
    def status(self) -> str:
        """``skipped``, ``failed``, or that it was done."""

    @property
    def error(self) -> str:
        """Why it failed."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left behind, a few words each."""


class _Rate(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f} images/s")


class FileResults:
    """Shows the results of a command over many files, on standard error.

    Args:
        doing: What is being done, such as ``purifying``.
    """

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._console = Console(stderr=True, emoji=False)
        self._say = functools.partial(
            self._console.print, markup=False, highlight=False, soft_wrap=True
        )

    @contextmanager
    def progress(self) -> Iterator[Callable[[Result, int], None]]:
        """Show a bar on a terminal, and warnings as notes."""
        from comdefend.purify.files import LossyOutputWarning, PassedOverWarning

        name = TextColumn("{task.fields[name]}")
        columns = (TextColumn(self._doing), BarColumn(), MofNCompleteColumn(), _Rate(), name)
        terminal = self._console.is_terminal
        with (
            Progress(*columns, console=self._console, disable=not terminal) as bar,
            warnings.catch_warnings(),
        ):
            for kind in (LossyOutputWarning, PassedOverWarning):
                warnings.simplefilter("always", kind)
            warnings.showwarning = lambda message, *_: self._say(f"note: {message}")
            task = bar.add_task("", name="")
            yield lambda result, total: bar.update(
                task, total=total, advance=1, name=result.source.name
            )

    def tell(self, results: Sequence[Result]) -> None:
        """Print notes, and what failed."""
        for note, files in _notes(results).items():
            self._say(f"note: {note}: {files}")
        for result in results:
            if result.status == "failed":
                self._say(f"failed: {result.source}: {result.error}", style="bold red")


def summary(results: Sequence[Result], done: str) -> str:
    """Return how many files were done, skipped and failed.

    Args:
        results: What became of each file.
        done: What was done to the others, such as ``purified``.
    """
    counts = Counter(result.status for result in results)
    text = f"{len(results) - counts['skipped'] - counts['failed']} {done}"
    if counts["skipped"]:
        text += f", {counts['skipped']} already there (--overwrite redoes them)"
    if counts["failed"]:
        text += f", {counts['failed']} failed"
    return text


def _notes(results: Sequence[Result]) -> dict[str, str]:
    """Return what of the metadata was left behind, and of which files, in a few words each."""
    files: dict[str, list[Place]] = {}
    for result in results:
        for note in result.notes:
            files.setdefault(note, []).append(result.source)
    return {
        note: str(of[0]) + (f" and {len(of) - 1} more" if len(of) > 1 else "")
        for note, of in files.items()
    }
