"""``comdefend reproduce``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from comdefend.cli.options import Device


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reproduce", help=_HELP, epilog=_EPILOG)(reproduce)


_HELP = """Run one of the experiments that ship, or one from a YAML file.

The small profile fits two cores: minutes, or a few hours where it attacks what it has trained. The
others need a GPU. Without a name, lists the experiments. It says first what it needs, what it
trains and how much it measures. Writes the same files as **comdefend evaluate**, and resumes in the
same way."""

_EPILOG = """Examples:

comdefend reproduce

comdefend reproduce cifar10 --output runs/cifar10

comdefend reproduce cifar10 --profile gpu --device cuda --output runs/cifar10-gpu"""


def reproduce(
    experiment: Annotated[
        str | None,
        typer.Argument(help="An experiment that ships, or a .yaml file.", show_default=False),
    ] = None,
    profile: Annotated[str, typer.Option(help="small, full or gpu, as listed.")] = "small",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder.", show_default="runs/NAME-PROFILE"),
    ] = None,
    device: Device = "auto",
) -> None:
    """Reproduce an experiment; see the help text above."""
    from comdefend.evaluation.shipped import experiments, profiles_of, read_experiment

    if experiment is None:
        for name in experiments():
            for known in profiles_of(name):
                print(f"{name} --profile {known}: {read_experiment(name, known)[0]['title']}")
        return
    from comdefend.evaluation.outline import Outline

    outline = Outline(experiment, profile)
    print(outline, file=sys.stderr, flush=True)
    outline.check()
    # Only now: they import torch.
    from comdefend.api import run
    from comdefend.cli.evaluate import show_evaluation
    from comdefend.cli.options import open_device, progress_bar
    from comdefend.evaluation.loading import load_experiment

    loaded = load_experiment(experiment, profile)
    folder = output or Path("runs") / loaded.name
    with progress_bar() as show:
        evaluation = run(loaded, folder, open_device(device), show)
    show_evaluation(evaluation, folder)
