"""``comdefend decompress``."""

from pathlib import Path
from typing import Annotated

import typer

from comdefend.cli.results import FileResults, summary
from comdefend.engines.backends import ENGINES


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("decompress", help=_HELP, epilog=_EPILOG)(decompress)


_HELP = """Rebuild images from files that compress wrote.

Writes PNG unless told otherwise. A file tells which weights it was made with; of these it needs the
ones that ship, or those that --weights gives. A truncated file is rebuilt at the highest rate that
is whole, and a note says so. Existing outputs are skipped. Files that are damaged are reported at
the end; the others are rebuilt."""

_EPILOG = """Examples:

comdefend decompress photo.comd photo.png

comdefend decompress compressed/ clean/ --bpp 1"""


def decompress(
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="IN...", help="Compressed files and folders.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="A folder; or, for one file, the file to write.", show_default=False
        ),
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", "-w", help="Weights that do not ship, if files were made with them.",
            show_default=False,
        ),
    ] = None,
    bpp: Annotated[
        float | None,
        typer.Option(
            help="Bits of code per pixel to rebuild, one of a file's rates.",
            show_default="all",
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="png, jpeg, webp, tiff or bmp.", show_default="of OUT, else png"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Rebuild files again whose output exists.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    engine: Annotated[
        str, typer.Option(help=f"What computes: auto, {', '.join(ENGINES)}.")
    ] = "auto",
    max_megapixels: Annotated[
        float | None,
        typer.Option(
            help="Larger images may be decompression bombs, and fail.", show_default="179"
        ),
    ] = None,
) -> None:  # fmt: skip
    """Rebuild files; the help text is above."""
    from comdefend.cli.options import open_device
    from comdefend.codec.files import decompress_files

    shown = FileResults("decompressing")
    with shown.progress() as progress:
        results = decompress_files(
            inputs,
            output,
            weights,
            bpp=bpp,
            format=format,
            overwrite=overwrite,
            device=open_device(device),
            engine=engine,
            max_megapixels=max_megapixels,
            progress=progress,
        )
    shown.tell(results)
    print(summary(results, "decompressed"))
    if any(result.status == "failed" for result in results):
        raise typer.Exit(1)
