"""What several commands share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


def open_device(name: str) -> str:
    """Return the device that ``--device`` stands for.

    Raises:
        InputError: An unknown device, or a GPU that is not there.
    """
    import torch

    from comdefend.errors import InputError

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda': no GPU that torch can use; take --device cpu")
    if name not in ("cpu", "cuda"):
        raise InputError(f"unknown device '{name}'; use auto, cpu or cuda")
    return name


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show progress on standard error: a bar on a terminal, else a line each time.

    Gives a function of what is being done, the steps that are over, and all steps; without steps,
    a line stands alone.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    task = bar.add_task("")

    def show(label: str, done: int, total: int) -> None:
        # What is trained first has a bar of its own.
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
