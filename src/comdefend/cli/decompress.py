"""``comdefend decompress``."""

from typing import Annotated

import typer

from comdefend.cli.options import Device, Engine, Format, MaxMegapixels, Output, Overwrite
from comdefend.cli.results import FileResults, summary


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("decompress", help=_HELP, epilog=_EPILOG)(decompress)


_HELP = """Rebuild images from files that compress wrote.

Writes PNG unless told otherwise. A file tells which weights it was made with; of these it needs the
ones that ship, or those that --weights gives. A truncated file is rebuilt at the highest rate that
is whole, and a note says so. Existing outputs are skipped. Files that are damaged are reported at
the end; the others are rebuilt. Files may lie at the addresses that purify takes."""

_EPILOG = """Examples:

comdefend decompress photo.comd photo.png

comdefend decompress compressed/ clean/ --bpp 1"""


def decompress(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN...", help="Compressed files and folders, or their addresses.",
            show_default=False,
        ),
    ],
    output: Output,
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
    format: Format = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    engine: Engine = "auto",
    max_megapixels: MaxMegapixels = None,
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
