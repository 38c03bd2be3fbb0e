"""Options and output that several commands share."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comdefend.common.processor import may_have_gpu
from comdefend.engines.backends import ENGINES
from comdefend.errors import InputError

if TYPE_CHECKING:
    from comdefend.classifiers import ClassifierSpec

_CLASSIFIER = "The classifier"
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        help="Weights of torchvision:NAME, timm:NAME or your own.",
        show_default=False,
        rich_help_panel=_CLASSIFIER,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        help="What it wants images in [0, 1] normalised by, as 0.485,0.456,0.406.",
        show_default="of torchvision:NAME and timm:NAME what the library says",
        rich_help_panel=_CLASSIFIER,
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        help="The same, as 0.229,0.224,0.225.", show_default=False, rich_help_panel=_CLASSIFIER
    ),
]
Classes = Annotated[
    Path | None,
    typer.Option(
        help="Names of its classes in its order, one a line, or JSON.",
        show_default=False,
        rich_help_panel=_CLASSIFIER,
    ),
]

Resize = Annotated[
    int | None,
    typer.Option(
        help="Resize the shorter side to this.",
        show_default="what the classifier takes, where that is known; 0 leaves the images",
    ),
]
Crop = Annotated[
    int | None,
    typer.Option(help="Then cut out the central square of this side.", show_default="the same"),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Engine = Annotated[str, typer.Option(help=f"What computes: auto, {', '.join(ENGINES)}.")]
Output = Annotated[
    str,
    typer.Argument(
        metavar="OUT",
        help="A folder, or its address; or, for one file, the file to write.",
        show_default=False,
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Compute on this Ray cluster: HOST:PORT, or auto for the one of this machine.",
        show_default=False,
    ),
]
Format = Annotated[
    str | None, typer.Option(help="png, jpeg, webp, tiff or bmp.", show_default="of OUT, else png")
]
Overwrite = Annotated[bool, typer.Option(help="Redo files whose output exists.")]
MaxMegapixels = Annotated[
    float | None,
    typer.Option(help="Larger images may be decompression bombs, and fail.", show_default="179"),
]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read.")
]


def classifier_spec(
    name: str | None,
    checkpoint: Path | None,
    mean: str | None,
    std: str | None,
    classes: Path | None = None,
) -> "ClassifierSpec | None":
    """Return the classifier that the options describe; None where there is none.

    Raises:
        InputError: Mean or std are no numbers, one is without the other, or they describe nothing.
    """
    if name is None:
        if checkpoint or mean or std or classes:
            raise InputError("--checkpoint, --mean, --std and --classes describe a --classifier")
        return None
    numbers = channel_numbers("mean", mean), channel_numbers("std", std)
    from comdefend.classifiers import ClassifierSpec

    files = (None if path is None else str(path) for path in (checkpoint, classes))
    return ClassifierSpec(name, next(files), *numbers, next(files))


def channel_numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    """Return the numbers of a text such as ``0.485,0.456,0.406``.

    Raises:
        InputError: It holds something else; the message begins with ``name``.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{name}: must be numbers separated by commas, not '{text}'") from None


def as_arguments(spec: "ClassifierSpec") -> str:
    """Return a classifier as ``comdefend evaluate`` takes it: its name, and options."""
    options = {"checkpoint": spec.checkpoint, "mean": spec.mean, "std": spec.std}
    if isinstance(spec.classes, str):
        options["classes"] = spec.classes
    words = [spec.name]
    for option, value in options.items():
        if value is not None:
            text = value if isinstance(value, str) else ",".join(f"{v:g}" for v in value)
            words += [f"--{option}", text]
    return shlex.join(words)


def open_device(name: str) -> str:
    """Return the device that ``--device`` stands for.

    Raises:
        InputError: An unknown device, or a GPU that is not there.
    """
    if name not in ("auto", "cpu", "cuda", "mps"):
        raise InputError(f"unknown device '{name}'; use auto, cpu, cuda or mps")
    if name == "cpu" or (name == "auto" and not may_have_gpu()):
        return "cpu"
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
