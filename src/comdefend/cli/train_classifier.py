"""``comdefend train-classifier``."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train-classifier", help=_HELP, epilog=_EPILOG)(train_classifier)


_HELP = """Train a small classifier by a recipe: on clean or purified images.

Recipes that ship: cifar10-small and fashion-mnist-small, those of the shipped classifiers. A YAML
file of the same form is a recipe too. Data is named as for **comdefend train**.

The output folder receives logs, checkpoints, and at the end classifier.safetensors with its model
card. Stop it whenever you like: the same command goes on from the last checkpoint."""

_EPILOG = """Examples:

comdefend train-classifier fashion-mnist-small --output runs/fashion

comdefend train-classifier cifar10-small --purified rgb-12bpp --output runs/purified"""


def train_classifier(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe, or a .yaml file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run's folder.")],
    data: Annotated[
        str | None, typer.Option(help="Data set instead of the recipe's.", show_default=False)
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs instead of the recipe's.", show_default=False)
    ] = None,
    purified: Annotated[
        str | None,
        typer.Option(
            help="Train on images purified by these weights, which are purified once and kept.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed instead of the recipe's.", show_default=False)
    ] = None,
    precision: Annotated[
        str, typer.Option(help="auto, 32 or bf16; auto takes bf16 where the hardware has it.")
    ] = "auto",
) -> None:
    """Train a classifier; see the help text above."""
    from comdefend.common.extras import require_extra
    from comdefend.training.recipe import ClassifierRecipe, load_recipe

    chosen = load_recipe(
        recipe,
        ClassifierRecipe,
        data=data,
        epochs=epochs,
        purifier=purified,
        seed=seed,
    )
    require_extra("train")
    from comdefend.training.classifier import train_classifier as run

    weights = run(chosen, output, precision)
    print(weights.with_suffix(".md").read_text())
