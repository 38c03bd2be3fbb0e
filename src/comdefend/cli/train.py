"""``comdefend train``, and its other name ``comdefend train-classifier``."""

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comdefend.cli.options import Checkpoint, Classes, Mean, Std
from comdefend.training import Precision
from comdefend.training.shipped import recipe_titles

if TYPE_CHECKING:
    from comdefend.training.recipe import Recipe


def register(app: typer.Typer) -> None:
    """Add the command under both names."""
    app.command("train", help=_HELP, epilog=_EPILOG)(train)
    app.command("train-classifier", help=_OTHER_NAME, epilog=_OTHER_EPILOG)(train)


_TITLES = "\n".join(f"- {name}: {title}" for name, title in recipe_titles().items())
_HELP = f"""Train a purifier, a classifier or both by a recipe.

A recipe is a YAML file, or the name of one that ships:

{_TITLES}

Data is a name that **comdefend list data** lists, parquet:PATH, or folder:PATH for a folder of
images.

The output folder receives logs (CSV and TensorBoard), checkpoints, for a purifier a picture of
reconstructions per epoch, after each epoch the weights so far (in its checkpoints folder), and at
the end the weights, a .safetensors file, with a model card. Stop it whenever you like: the same
command goes on from the last checkpoint.

**comdefend recipe NAME** prints a recipe to start your own from."""

_EPILOG = """Examples:

comdefend train rgb-12bpp --output runs/rgb

comdefend train rgb-12bpp --data folder:photos/ --start rgb-12bpp --steps 1000 --output runs/photos

comdefend train cifar10-robust --output runs/robust

comdefend train rgb-3bpp-adversarial --classifier my.models:resnet --output runs/mine

comdefend train rgb-3bpp-adversarial --classifier torchvision:resnet18 --checkpoint resnet18.pth
--classes names.txt --data folder:photos/ --output runs/photos-defended

comdefend train cifar10-small --purified rgb-12bpp --output runs/purified

tensorboard --logdir runs/rgb"""

_OTHER_NAME = "Another name for **comdefend train**."
_OTHER_EPILOG = "Example: comdefend train-classifier fashion-mnist-small --output runs/fashion"
_INSTEAD = "Instead of what the recipe says"


def _change(text: str) -> Any:
    return typer.Option(help=text, show_default=False, rich_help_panel=_INSTEAD)


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe that ships, or a .yaml file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run's folder.")],
    data: Annotated[str | None, _change("Data set.")] = None,
    start: Annotated[
        str | None,
        _change(
            "Weights to start from; against attacks, the purifier to start from instead of a new "
            "one."
        ),
    ] = None,
    steps: Annotated[int | None, _change("Training steps.")] = None,
    epochs: Annotated[int | None, _change("Passes over the training images.")] = None,
    batch: Annotated[int | None, _change("Images per step.")] = None,
    validation: Annotated[
        int | None,
        _change("Training images to hold out for validation; by default at most a tenth."),
    ] = None,
    epoch_steps: Annotated[
        int | None, _change("Steps between two validations, where a recipe counts in steps.")
    ] = None,
    seed: Annotated[int | None, _change("Seed of everything random.")] = None,
    purified: Annotated[
        str | None, _change("Train a classifier on images purified by these weights.")
    ] = None,
    classifier: Annotated[
        str | None,
        _change(
            "The classifier behind the purifier, or that guides it; with --trained purifier or as "
            "a guide, any that `comdefend evaluate` takes."
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
    trained: Annotated[
        str | None, _change("Against attacks: train both, purifier or classifier.")
    ] = None,
    attack_steps: Annotated[int | None, _change("Steps of the attacks in training.")] = None,
    attack_eps: Annotated[
        float | None, _change("Bound of the attacks in training, in units of 1/255.")
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="auto computes in bfloat16 if the hardware has units for it.")
    ] = "auto",
    devices: Annotated[
        int, typer.Option(help="Processes that train a purifier together.", min=1)
    ] = 1,
) -> None:
    """Train by a recipe; see the help text above."""
    from comdefend.cli.options import classifier_spec
    from comdefend.common.extras import require_extra
    from comdefend.training.recipe import load_recipe

    spec = classifier_spec(classifier, checkpoint, mean, std, classes)
    changes: dict[str, Any] = {
        "data": data, "start": start, "steps": steps, "epochs": epochs, "batch": batch,
        "validation": validation, "epoch_steps": epoch_steps,
        "seed": seed, "purifier": purified, "classifier": spec and spec.plain,
        "trained": trained, "attack_steps": attack_steps, "attack_eps": attack_eps,
    }  # fmt: skip
    chosen = load_recipe(recipe, **changes)
    require_extra("train")
    from comdefend.training.run import train as run

    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
        try:
            weights = run(chosen, output, precision, devices)
        except KeyboardInterrupt:
            if (so_far := output / "checkpoints" / chosen.weights_file).is_file():
                print(f"\nweights so far: {so_far}", file=sys.stderr)
            raise
    if weights is None:
        return
    print(weights.with_suffix(".md").read_text(encoding="utf-8"))
    print(_next_command(chosen, weights))


def _next_command(recipe: "Recipe", weights: Path) -> str:
    """Return the command that uses the weights of a training."""
    from comdefend.cli.options import as_arguments
    from comdefend.training.recipe import DefenseRecipe

    if recipe.kind in ("purifier", "guided"):
        return f"comdefend purify IN OUT --weights {weights}"
    if recipe.kind == "classifier":
        return f"comdefend evaluate {weights} --data DATA"
    if not isinstance(recipe, DefenseRecipe):
        return f"comdefend evaluate CLASSIFIER --data DATA --defense {weights}"
    behind = as_arguments(recipe.kept) if recipe.kept else weights
    shield = f" --defense {weights.parent}/purifier.safetensors" if recipe.purifies else ""
    return f"comdefend evaluate {behind} --data DATA{shield}"
