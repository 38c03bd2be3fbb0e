"""``comdefend export``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from comdefend.cli.options import Checkpoint, Mean, Std
from comdefend.common.defaults import RECOMMENDED


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", help=_HELP, epilog=_EPILOG)(export)


_HELP = """Write a purifier as a file that other programs run without comdefend.

OUT ends in .onnx (ONNX), .xml (OpenVINO IR, with a .bin beside it) or .pt2 (a torch.export
program). The file takes any batch, height and width. It is compared with the network on real images
before it is written. It holds the name of the weights, their SHA-256, configuration, version and
commit, as JSON under "comdefend"."""

_EPILOG = """Examples:

comdefend export purifier.onnx --input uint8

comdefend export encoder.xml --part encoder --weights gray-4bpp

comdefend export defended.onnx --weights gray-4bpp --classifier fashion-mnist-small

comdefend export defended.onnx --classifier torchvision:resnet18 --checkpoint resnet18.pth"""


def export(
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write.", show_default=False)
    ],
    weights: Annotated[
        str, typer.Option("--weights", "-w", help="Shipped weights, or a .safetensors file.")
    ] = RECOMMENDED,
    part: Annotated[
        str, typer.Option(help="purifier, encoder (images to code) or decoder (code to images).")
    ] = "purifier",
    classifier: Annotated[
        str | None,
        typer.Option(
            help="A classifier behind the purifier, as evaluate names it.", show_default=False
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    mean: Mean = None,
    std: Std = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="Side of the images to compare on, where the classifier takes no others.",
            show_default="what the classifier takes, where that is known",
            min=1,
        ),
    ] = None,
    input: Annotated[
        str, typer.Option(help="float: images in [0, 1]. uint8: images and code in bytes.")
    ] = "float",
) -> None:
    """Export a network; the help text is above."""
    from comdefend.cli.options import classifier_spec
    from comdefend.data.shipped import fashion_images
    from comdefend.engines.export import export as run

    spec = classifier_spec(classifier, checkpoint, mean, std)

    def tell(line: str) -> None:
        print(line, file=sys.stderr)

    done = run(output, fashion_images()[0], weights, part, spec, input, size, tell)
    print(f"{done.path}: {done.takes} -> {done.gives}, {input}")
    print(f"differs from the network by {done.error:.1g} of the output's power, on real images")
