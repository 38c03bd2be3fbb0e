"""Options and output that several commands share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from comdefend.errors import InputError


def open_device(name: str) -> str:
    """Return the device that ``--device`` stands for.

    Raises:
        InputError: An unknown device, or a GPU that is not there.
    """
    if name not in ("auto", "cpu", "cuda", "mps"):
        raise InputError(f"unknown device '{name}'; use auto, cpu, cuda or mps")
    if name == "cpu":
        return name
    # Only now, since it takes seconds to import.
    import torch

    if name == "mps":
        if torch.backends.mps.is_available():
            return name
        raise InputError("device 'mps': no Apple GPU that torch can use; take --device cpu")
    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise InputError("device 'cuda': no GPU that torch can use; take --device cpu")
    return "cpu"


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show progress on standard error: a bar on a terminal, otherwise one line per step.

    Yields a function that takes what is being done, the steps that are over, and all steps. With 0
    steps in all, it prints a line of its own.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, emoji=False)
    columns = (
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    task = bar.add_task("")

    def show(label: str, done: int, total: int) -> None:
        # Training, which may come first, has its own bar.
        if total and console.is_terminal:
            bar.start()
            bar.update(task, description=label, completed=done, total=total)
        else:
            count = f"[{done}/{total}] " if total else ""
            print(f"{count}{label}", file=console.file, flush=True)

    try:
        yield show
    finally:
        bar.stop()
