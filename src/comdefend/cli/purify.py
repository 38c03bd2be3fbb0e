"""``comdefend purify``."""

from typing import Annotated, Any

import typer

from comdefend.cli.options import Device, Engine, Format, MaxMegapixels, Output, Overwrite, Ray
from comdefend.cli.results import FileResults, summary
from comdefend.common.defaults import RECOMMENDED
from comdefend.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("purify", help=_HELP, epilog=_EPILOG)(purify)


_HELP = """Purify image files: compress each to a binary code and rebuild it.

Reads PNG, JPEG, WebP, TIFF, BMP, GIF and AVIF; HEIC and JPEG XL with the extra comdefend[formats].
Folders are searched recursively, and their structure is kept. Writes PNG unless told otherwise.
Orientation is applied; alpha and metadata are kept, as far as the format holds them. Existing
outputs are skipped, so a run that was stopped continues where it was. Files that cannot be read are
reported at the end; the others are purified.

With the extra comdefend[remote], files may lie at s3://, gs://, https:// and all other addresses
that fsspec opens, and be written there, except to web servers. An address that ends in the suffix
of an image is a file on a web server, any other a folder.

With the extra comdefend[ray] and --ray, the machines of a Ray cluster share the work. Each needs
comdefend, and the same addresses or a shared disk. Where a machine is lost, the others do its
files; what it had written counts.

Files are read and written while others are computed, and small images are computed in batches. Of
the engines, auto takes the fastest that is installed; OpenVINO and ONNX Runtime do without torch,
which takes seconds to import."""

_EPILOG = """Examples:

comdefend purify photo.jpg photo-clean.png

comdefend purify photos/ more/cat.webp clean/ --resize 256

comdefend purify scans/ clean/ --weights gray-4bpp --overwrite

comdefend purify s3://bucket/photos s3://bucket/clean

comdefend purify s3://bucket/photos s3://bucket/clean --ray head:6379

comdefend purify photos/ clean/ --engine openvino --precision float32"""


def purify(
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
    format: Format = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="auto, float32, bfloat16 or int8, as far as engine and hardware support it."
        ),
    ] = "auto",
    max_megapixels: MaxMegapixels = None,
    ray: Ray = None,
) -> None:
    """Purify files; the help text is above."""
    from comdefend.cli.options import open_device

    options: dict[str, Any] = {
        "bpp": bpp,
        "resize": resize,
        "format": format,
        "overwrite": overwrite,
        "engine": engine,
        "precision": precision,
        "max_megapixels": max_megapixels,
    }
    shown = FileResults("purifying")
    with shown.progress() as progress:
        if ray is None:
            from comdefend.purify.files import purify_files

            results = purify_files(
                inputs, output, weights, device=open_device(device), progress=progress, **options
            )
        else:
            from comdefend.integrations.ray import purify_files as purify_files_on

            # The GPUs are those of the cluster: this machine may have none.
            if device not in ("auto", "cpu", "cuda"):
                raise InputError(f"device on Ray: auto, cpu or cuda, not '{device}'")
            options["gpus"] = float(device == "cuda")
            results = purify_files_on(ray, inputs, output, weights, progress=progress, **options)
    shown.tell(results)
    print(summary(results, "purified"))
    if any(result.status == "failed" for result in results):
        raise typer.Exit(1)
