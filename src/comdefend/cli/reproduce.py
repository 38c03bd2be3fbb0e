"""``comdefend reproduce``."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reproduce", help=_HELP, epilog=_EPILOG)(reproduce)


_HELP = """Run one of the experiments that ship, or one from a YAML file.

The small profile fits two cores: minutes, or a few hours where it attacks what it has trained. The
full profile needs a GPU. Without a name, lists the experiments. Writes the same files as
**comdefend evaluate**, and resumes in the same way."""

_EPILOG = """Examples:

comdefend reproduce

comdefend reproduce cifar10 --output runs/cifar10

comdefend reproduce cifar10 --profile full --device cuda --output runs/cifar10-full"""


def reproduce(
    experiment: Annotated[
        str | None,
        typer.Argument(help="An experiment that ships, or a .yaml file.", show_default=False),
    ] = None,
    profile: Annotated[str, typer.Option(help="small or full.")] = "small",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder.", show_default="runs/NAME-PROFILE"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Reproduce an experiment; see the help text above."""
    from comdefend.evaluation.loading import experiments, load_experiment, profiles_of

    if experiment is None:
        for name in experiments():
            for known in profiles_of(name):
                print(f"{name} --profile {known}: {load_experiment(name, known).title}")
        return
    loaded = load_experiment(experiment, profile)
    from comdefend.cli.evaluate import show_evaluation
    from comdefend.cli.options import open_device, progress_bar
    from comdefend.common.extras import require_extra

    require_extra("evaluate")
    from comdefend.api import run

    folder = output or Path("runs") / loaded.name
    with progress_bar() as show:
        evaluation = run(loaded, folder, open_device(device), show)
    show_evaluation(evaluation, folder)
