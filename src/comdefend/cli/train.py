"""``comdefend train``."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", help=_HELP, epilog=_EPILOG)(train)


_HELP = """Train a purifier on clean images, by a recipe.

Recipes that ship: rgb-12bpp and gray-4bpp, those of the shipped weights. A YAML file of the same
form is a recipe too. Data: cifar10, cifar100, fashion-mnist, mnist (in the folder that
COMDEFEND_DATA names), parquet:PATH, or folder:PATH for any folder of images.

The output folder receives logs (CSV and TensorBoard), a panel of reconstructions after every epoch,
checkpoints, and at the end purifier.safetensors with its model card. Stop it whenever you like: the
same command goes on from the last checkpoint."""

_EPILOG = """Examples:

comdefend train rgb-12bpp --output runs/rgb

comdefend train rgb-12bpp --data folder:photos/ --start rgb-12bpp --steps 1000 --output runs/photos

tensorboard --logdir runs/rgb"""


def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe, or a .yaml file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run's folder.")],
    data: Annotated[
        str | None, typer.Option(help="Data set instead of the recipe's.", show_default=False)
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="Weights to start from instead of the recipe's.", show_default=False),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps instead of the recipe's.", show_default=False)
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Crops a step instead of the recipe's.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed instead of the recipe's.", show_default=False)
    ] = None,
    precision: Annotated[
        str, typer.Option(help="auto, 32 or bf16; auto takes bf16 where the hardware has it.")
    ] = "auto",
    devices: Annotated[int, typer.Option(help="Processes that train together.", min=1)] = 1,
) -> None:
    """Train a purifier; see the help text above."""
    from comdefend.extras import require_extra
    from comdefend.training.recipe import PurifierRecipe, load_recipe

    chosen = load_recipe(
        recipe, PurifierRecipe, data=data, start=start, steps=steps, batch=batch, seed=seed
    )
    require_extra("train")
    from comdefend.training.purifier import train_purifier

    weights = train_purifier(chosen, output, precision, devices)
    if weights is not None:
        print(weights.with_suffix(".md").read_text())
        print(f"comdefend purify IN OUT --weights {weights}")
