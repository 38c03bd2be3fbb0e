"""``comdefend compress``."""

from typing import TYPE_CHECKING, Annotated

import typer

from comdefend.cli.options import Device, Engine, MaxMegapixels, Output, Overwrite
from comdefend.cli.results import FileResults, summary
from comdefend.common.defaults import RECOMMENDED

if TYPE_CHECKING:
    from comdefend.codec.files import CodedFile


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compress", help=_HELP, epilog=_EPILOG)(compress)


_HELP = """Compress image files: keep their binary code, entropy coded, in files that end in .comd.

Reads what purify reads. Orientation is applied; alpha and the colour profile are kept, other
metadata is not. Where weights work at several rates, a file holds them all, the lowest first: its
beginning is a file of a lower rate. Existing outputs are skipped. Files that cannot be read are
reported at the end; the others are compressed. Files may lie at the addresses that purify takes."""

_EPILOG = """Examples:

comdefend compress photo.jpg photo.comd

comdefend compress photos/ compressed/ --bpp 1"""


def compress(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN...", help="Image files and folders, or their addresses.", show_default=False
        ),
    ],
    output: Output,
    weights: Annotated[
        str, typer.Option("--weights", "-w", help="Shipped weights, or a .safetensors file.")
    ] = RECOMMENDED,
    bpp: Annotated[
        float | None,
        typer.Option(
            help="Bits of code per pixel, instead of the rate in the name of the weights.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    engine: Engine = "auto",
    max_megapixels: MaxMegapixels = None,
) -> None:
    """Compress files; the help text is above."""
    from comdefend.cli.options import open_device
    from comdefend.codec.files import compress_files

    shown = FileResults("compressing")
    with shown.progress() as progress:
        results = compress_files(
            inputs,
            output,
            weights,
            bpp=bpp,
            overwrite=overwrite,
            device=open_device(device),
            engine=engine,
            max_megapixels=max_megapixels,
            progress=progress,
        )
    shown.tell(results)
    print(summary(results, "compressed") + _rates(results))
    if any(result.status == "failed" for result in results):
        raise typer.Exit(1)


def _rates(results: "list[CodedFile]") -> str:
    """Return the bits per pixel before and after entropy coding."""
    if not (pixels := sum(result.pixels for result in results)):
        return ""
    code, size = (
        sum(getattr(result, name) for result in results) for name in ("code_bits", "size")
    )
    return (
        f": {code / pixels:.3f} bits of code per pixel, {8 * size / pixels:.3f} in files "
        f"({size:,} bytes)"
    )
