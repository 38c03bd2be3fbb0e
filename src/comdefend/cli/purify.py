"""``comdefend purify``."""

import functools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from comdefend.common.defaults import RECOMMENDED
from comdefend.engines.backends import ENGINES

if TYPE_CHECKING:
    from comdefend.purify.pipeline import PurifiedFile


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("purify", help=_HELP, epilog=_EPILOG)(purify)


_HELP = """Purify image files: compress each to a binary code and rebuild it.

Reads PNG, JPEG, WebP, TIFF, BMP, GIF and AVIF; HEIC and JPEG XL with the extra comdefend[formats].
Folders are searched recursively, and their structure is kept. Writes PNG unless told otherwise.
Orientation is applied; alpha and metadata are kept, as far as the format holds them. Existing
outputs are skipped, so a run that was stopped continues where it was. Files that cannot be read are
reported at the end; the others are purified.

Files are read and written while others are computed, and small images are computed in batches. Of
the engines, auto takes the fastest that is installed, or torch, which opens at once, if there is
little to do."""

_EPILOG = """Examples:

comdefend purify photo.jpg photo-clean.png

comdefend purify photos/ more/cat.webp clean/ --resize 256

comdefend purify scans/ clean/ --weights gray-4bpp --overwrite

comdefend purify photos/ clean/ --engine openvino --precision float32"""


class _Rate(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f} images/s")


def purify(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="IN...", help="Image files and folders.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="A folder; or, for one file, the file to write.", show_default=False
        ),
    ],
    weights: Annotated[
        str, typer.Option("--weights", "-w", help="Shipped weights, or a .safetensors file.")
    ] = RECOMMENDED,
    bpp: Annotated[
        float | None,
        typer.Option(
            help="Bits per pixel, instead of the rate in the name of the weights.",
            show_default=False,
        ),
    ] = None,
    resize: Annotated[
        int,
        typer.Option(
            help="Shrink the shorter side to this first: what your classifier takes.",
            show_default="leaves the images",
        ),
    ] = 0,
    format: Annotated[
        str | None,
        typer.Option(help="png, jpeg, webp, tiff or bmp.", show_default="of OUT, else png"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Purify files again whose output exists.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    engine: Annotated[
        str,
        typer.Option(help=f"What computes: auto, {', '.join(ENGINES)}."),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="auto, float32, bfloat16 or int8, as far as engine and hardware support it."
        ),
    ] = "auto",
    max_megapixels: Annotated[
        float | None,
        typer.Option(
            help="Larger images may be decompression bombs, and fail.", show_default="179"
        ),
    ] = None,
) -> None:
    """Purify files; the help text is above."""
    from comdefend.cli.options import open_device
    from comdefend.purify.files import purify_files

    console = Console(stderr=True, emoji=False)
    say = functools.partial(console.print, markup=False, highlight=False, soft_wrap=True)
    with _progress(console, say) as progress:
        results = purify_files(
            inputs,
            output,
            weights,
            bpp=bpp,
            resize=resize,
            format=format,
            overwrite=overwrite,
            device=open_device(device),
            engine=engine,
            precision=precision,
            max_megapixels=max_megapixels,
            progress=progress,
        )
    for note, files in _notes(results).items():
        say(f"note: {note}: {files}")
    for result in results:
        if result.status == "failed":
            say(f"failed: {result.source}: {result.error}", style="bold red")
    print(_summary(results))
    if any(result.status == "failed" for result in results):
        raise typer.Exit(1)


@contextmanager
def _progress(
    console: Console, say: Callable[..., None]
) -> "Iterator[Callable[[PurifiedFile, int], None]]":
    """Show a bar on a terminal, and warnings as notes."""
    from comdefend.purify.files import LossyOutputWarning, PassedOverWarning

    name = TextColumn("{task.fields[name]}")
    columns = (TextColumn("purifying"), BarColumn(), MofNCompleteColumn(), _Rate(), name)
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as bar,
        warnings.catch_warnings(),
    ):
        for kind in (LossyOutputWarning, PassedOverWarning):
            warnings.simplefilter("always", kind)
        warnings.showwarning = lambda message, *_: say(f"note: {message}")
        task = bar.add_task("", name="")
        yield lambda result, total: bar.update(
            task, total=total, advance=1, name=result.source.name
        )


def _notes(results: "list[PurifiedFile]") -> dict[str, str]:
    """Return what of the metadata was left behind, and of which files, in a few words each."""
    files: dict[str, list[Path]] = {}
    for result in results:
        for note in result.notes:
            files.setdefault(note, []).append(result.source)
    return {
        note: str(of[0]) + (f" and {len(of) - 1} more" if len(of) > 1 else "")
        for note, of in files.items()
    }


def _summary(results: "list[PurifiedFile]") -> str:
    counts = Counter(result.status for result in results)
    summary = f"{counts['purified']} purified"
    if counts["skipped"]:
        summary += f", {counts['skipped']} already there (--overwrite redoes them)"
    if counts["failed"]:
        summary += f", {counts['failed']} failed"
    return summary
