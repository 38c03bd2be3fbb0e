"""``comdefend demo``."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", help=_HELP, epilog=_EPILOG)(demo)


_HELP = """Attack two real classifiers, defend them, and show what the defence is worth.

Fashion-MNIST test images with the shipped classifier, defended as published and by a purifier
that was trained against attacks, and photographs with EfficientNet-Lite0 and its ImageNet weights.
Prints one table, and writes pictures and records to the output folder. Needs no network and no data
other than what is installed; takes about a minute."""

_EPILOG = """Example:

comdefend demo --output demo/"""


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for pictures and records.")
    ] = Path("demo"),
) -> None:
    """Run the demo; see the help text above."""
    from comdefend.common.extras import require_extra

    require_extra("demo")
    from comdefend.demo import run_demo

    run_demo(output)
