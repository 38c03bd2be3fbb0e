"""The command line: one file a command, no logic of its own."""

import io
import sys

import typer
from rich.console import Console

from comdefend._version import __version__
from comdefend.cli import (
    bench,
    certify,
    compress,
    decompress,
    demo,
    evaluate,
    export,
    info,
    list,
    page,
    purify,
    recipe,
    reproduce,
    serve,
    train,
)
from comdefend.cli.completion import complete_names
from comdefend.errors import ComdefendError

app = typer.Typer(
    name="comdefend",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""A learned compression shield for image classifiers, and an honest measure of its worth.

ComDefend (Jia et al., CVPR 2019) compresses an image to a binary code of a few bits per pixel and
rebuilds it. Perturbations that do not fit into the code are gone before the classifier sees them.
An attacker who knows about the shield can still get through: look at what **comdefend demo**
prints under "adaptive" before you rely on it.

Start with **comdefend demo**, then **comdefend purify photos/ clean/**. **comdefend list** shows
everything that has a name.
Every command explains itself with **--help** or **-h**.

Exit codes: 0 done; 1 the job failed, or failed for some files; 2 wrong usage.""",
    epilog="Data sets are read from the folder that COMDEFEND_DATA names.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"comdefend {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


for _command in (
    demo, purify, compress, decompress, info, evaluate, certify, train, recipe, export, serve,
    reproduce, bench, page, list,
):  # fmt: skip
    _command.register(app)
complete_names(app)

_STOPPED = 130


def main() -> None:
    """Run the command line; errors that users can cause are one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal lacks must not cost the work: cp1252 has no infinity sign.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except ComdefendError as error:
        Console(stderr=True, emoji=False).print(
            f"error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(error.exit_code)
    except SystemExit as ending:
        # Typer turns Ctrl-C into this exit code.
        if ending.code == _STOPPED:
            note = (
                "stopped; train, purify, compress, decompress, evaluate, certify and reproduce "
                "resume when called again"
            )
            print(note, file=sys.stderr)
        raise
