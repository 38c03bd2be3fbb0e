"""``comdefend train``."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", help=_HELP, epilog=_EPILOG)(train)


_HELP = """Train a purifier by a recipe, alone or with the classifier behind it.

Recipes that ship: those of the shipped weights, which see clean images only: rgb-12bpp,
gray-4bpp, rgb-12bpp-lite (learns the code of rgb-12bpp) and rgb-variable (several rates), the
last two each from weights that NAME-start makes; cifar10-robust and fashion-mnist-robust, a
purifier and the classifier behind it, trained against attacks through both;
gray-2bpp-adversarial and rgb-3bpp-adversarial, each a purifier trained so before a classifier that
stays as it is; and those of defences to compare with: cifar10-adversarial and
fashion-mnist-adversarial, classifiers alone trained against attacks; cifar10-hgd and
fashion-mnist-hgd, denoisers trained against attacks on a classifier; cifar10-pixelcnn and
fashion-mnist-pixelcnn, models of clean images for PixelDefend. A YAML file of the same form is a
recipe too. Data: cifar10, cifar100, fashion-mnist, mnist (in the folder that COMDEFEND_DATA names),
parquet:PATH, or folder:PATH for any folder of images.

The output folder receives logs (CSV and TensorBoard), checkpoints, for ComDefend a panel of
reconstructions after every epoch, and at the end the weights, a .safetensors file, with their model
card. Stop it whenever you like: the same command goes on from the last checkpoint."""

_EPILOG = """Examples:

comdefend train rgb-12bpp --output runs/rgb

comdefend train rgb-12bpp --data folder:photos/ --start rgb-12bpp --steps 1000 --output runs/photos

comdefend train cifar10-robust --output runs/robust

comdefend train rgb-3bpp-adversarial --classifier my.models:resnet --output runs/mine

comdefend train cifar10-robust --start rgb-variable@3 --epochs 5 --output runs/tuned

tensorboard --logdir runs/rgb"""


def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe, or a .yaml file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run's folder.")],
    data: Annotated[
        str | None, typer.Option(help="Data set instead of the recipe's.", show_default=False)
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="ComDefend: weights to start from instead of the recipe's; against attacks, the "
            "purifier to start from, without the epochs in which a new one learns to rebuild.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps instead of the recipe's.", show_default=False)
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Against attacks: passes over the images instead of the recipe's, those in which "
            "a new purifier learns to rebuild included.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Images a step instead of the recipe's.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed instead of the recipe's.", show_default=False)
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option(
            help="What attacks go through, behind the purifier, instead of the recipe's; with "
            "--trained purifier any that `comdefend evaluate` takes.",
            show_default=False,
        ),
    ] = None,
    trained: Annotated[
        str | None,
        typer.Option(
            help="Against attacks: both, purifier or classifier, instead of the recipe's.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="auto, 32 or bf16; auto takes bf16 where the hardware has it.")
    ] = "auto",
    devices: Annotated[
        int, typer.Option(help="ComDefend: processes that train together.", min=1)
    ] = 1,
) -> None:
    """Train a purifier; see the help text above."""
    from comdefend.common.extras import require_extra
    from comdefend.training.recipe import DefenseRecipe, PurifierRecipe, load_recipe

    chosen = load_recipe(
        recipe, data=data, start=start, steps=steps, epochs=epochs, batch=batch, seed=seed,
        classifier=classifier, trained=trained,
    )  # fmt: skip
    require_extra("train")
    from comdefend.training.start import train as run

    weights = run(chosen, output, precision, devices)
    if weights is not None:
        print(weights.with_suffix(".md").read_text())
        if isinstance(chosen, PurifierRecipe):
            print(f"comdefend purify IN OUT --weights {weights}")
        elif isinstance(chosen, DefenseRecipe):
            behind = chosen.classifier if chosen.trained == "purifier" else weights
            shield = f" --defense {weights.parent}/purifier.safetensors" if chosen.purifies else ""
            print(f"comdefend evaluate {behind} --data DATA{shield}")
        else:
            print(f"comdefend evaluate CLASSIFIER --data DATA --defense {weights}")
