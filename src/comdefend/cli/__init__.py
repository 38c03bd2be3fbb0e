"""The command line: one file a command, no logic of its own."""

import sys

import typer
from rich.console import Console

import comdefend
from comdefend.cli import bench, demo, evaluate, export, purify, reproduce, train, train_classifier
from comdefend.errors import ComdefendError

app = typer.Typer(
    name="comdefend",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""A learned compression shield for image classifiers, and an honest measure of its worth.

ComDefend (Jia et al., CVPR 2019) squeezes an image through a binary code of a few bits a pixel and
rebuilds it. Perturbations that do not fit into the code are gone before a classifier sees them.
An attacker who knows of the shield can still get through: see what **comdefend demo**
prints under "adaptive" before you rely on it.

Start with **comdefend demo**, then **comdefend purify photos/ clean/**.
Every command explains itself with **--help**.

Exit codes: 0 done, 1 the job failed (or failed for some files), 2 bad use.""",
    epilog="Data sets are looked for in the folder that COMDEFEND_DATA names.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"comdefend {comdefend.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


demo.register(app)
purify.register(app)
export.register(app)
train.register(app)
train_classifier.register(app)
evaluate.register(app)
reproduce.register(app)
bench.register(app)


_STOPPED = 130


def main() -> None:
    """Run the command line; errors that users can cause end in one line on standard error."""
    try:
        app()
    except ComdefendError as error:
        Console(stderr=True).print(
            f"error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(error.exit_code)
    except SystemExit as ending:
        # Typer has turned Ctrl-C into this exit code by now.
        if ending.code == _STOPPED:
            note = (
                "stopped; train, purify, evaluate and reproduce go on from here when called again"
            )
            print(note, file=sys.stderr)
        raise
