"""``comdefend evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comdefend.cli.options import (
    Checkpoint,
    Classes,
    Crop,
    Device,
    Mean,
    Ray,
    Resize,
    SkipUnreadable,
    Std,
)
from comdefend.errors import InputError

if TYPE_CHECKING:
    from comdefend.api import Evaluation


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate", help=_HELP, epilog=_EPILOG)(evaluate)


_HELP = """Measure what a defence buys your classifier: clean, oblivious and adaptive.

CLASSIFIER is a shipped name (cifar10-small, fashion-mnist-small), a .safetensors file of comdefend,
torchvision:NAME or timm:NAME with --checkpoint, or your own as package.module:function. It takes
images in [0, 1] and returns logits; --mean and --std wrap one that wants normalised images. Of
torchvision's, timm's and the ready-made ones mean, std and the size of the images are known: a line
says what is taken.

Data: cifar10, fashion-mnist, ... (in the folder that COMDEFEND_DATA names), parquet:PATH, or
folder:PATH with one folder per class, in one folder per split or not. Classes are found in the
classifier by their names: those that --classes gives, numbers, or ImageNet's. Without any, data and
classifier must have equally many.

**comdefend list** shows all defences and attacks that --defense and --attack take; bim:20 takes 20
steps. Your own may be named too, as package.module:function.

With the extra comdefend[ray] and --ray, the machines of a Ray cluster share the work, one core for
each attack on each defence. All need the same versions, and your own code if there is any; images
and weights are sent along.

The output folder receives record.json, table.md and report.html. Stop it whenever you like:
the same command goes on where it was."""

_EPILOG = """Examples:

comdefend evaluate cifar10-small --data cifar10 --output runs/evaluation

comdefend evaluate my.models:resnet --checkpoint resnet.safetensors --data folder:photos/
--defense photo --defense jpeg:25 --attack bim:10 --eps 4 --output runs/mine"""


def evaluate(
    classifier: Annotated[str, typer.Argument(help="The classifier; see above.")],
    data: Annotated[str, typer.Option(help="Labelled images; their test split is used.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The evaluation's folder.")],
    defense: Annotated[
        list[str], typer.Option(help="A defence; repeat for more.", show_default="photo")
    ] = [],  # noqa: B006, Typer makes a new list for each call
    attack: Annotated[
        list[str],
        typer.Option(help="An attack, NAME or NAME:STEPS; repeat.", show_default="fgsm, pgd"),
    ] = [],  # noqa: B006
    eps: Annotated[
        list[float],
        typer.Option(help="A bound in units of 1/255; repeat for more.", show_default="2, 8"),
    ] = [],  # noqa: B006
    images: Annotated[int, typer.Option(help="Size of the sample; 0 for all images.")] = 200,
    adaptive_steps: Annotated[int, typer.Option(help="Steps of the adaptive PGD.")] = 20,
    checkpoint: Checkpoint = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
    resize: Resize = None,
    crop: Crop = None,
    skip_unreadable: SkipUnreadable = False,
    seed: Annotated[int, typer.Option(help="Of the sample and the attacks.")] = 0,
    device: Device = "auto",
    ray: Ray = None,
) -> None:
    """Evaluate a defence; see the help text above."""
    from comdefend.cli.options import channel_numbers, open_device, progress_bar

    channels = channel_numbers("mean", mean), channel_numbers("std", std)
    from comdefend.common.extras import require_extra

    require_extra("evaluate")
    from comdefend import api

    workers = None
    if ray is not None:
        from comdefend.integrations.ray import on_cluster

        if device not in ("auto", "cpu"):
            raise InputError(f"device on Ray: auto or cpu, not '{device}'")
        workers = on_cluster(ray)
    with progress_bar() as show:
        evaluation = api.evaluate(
            classifier,
            data=data,
            defenses=[*api.DEFENSES[:1], *defense] if defense else api.DEFENSES,
            attacks=attack or api.ATTACKS,
            eps=eps or api.EPS,
            adaptive_steps=adaptive_steps,
            sample=images,
            checkpoint=checkpoint,
            mean=channels[0],
            std=channels[1],
            classes=classes,
            resize=resize,
            crop=crop,
            skip_unreadable=skip_unreadable,
            seed=seed,
            device="cpu" if workers else open_device(device),
            output=output,
            progress=show,
            workers=workers,
        )
    show_evaluation(evaluation, output)


def show_evaluation(evaluation: "Evaluation", output: Path) -> None:
    """Print the table, and warn of sanity checks that do not hold."""
    from rich.console import Console
    from rich.markdown import Markdown

    from comdefend.report.markdown import markdown_table

    console = Console(stderr=True, emoji=False)
    Console().print(Markdown(markdown_table(evaluation.record)))
    for check in evaluation.record.checks:
        if check.passed is False:
            console.print(
                f"warning: {check.name}: does not hold ({check.detail})",
                style="bold yellow", markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip
        elif check.passed is None:
            console.print(
                f"note: {check.name}: {check.detail}",
                markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip
    print(f"{output}/report.html")
