"""Training by a recipe of any kind: from the recipe to a weight file with its record and card."""

import hashlib
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from comdefend._version import __version__
from comdefend.common.atomic import atomic_write
from comdefend.errors import InputError
from comdefend.nn.classifier import SmallClassifier
from comdefend.training import Precision, classifier, defense, denoiser, guided, pixelcnn, purifier
from comdefend.training.fit import fit, resolve_precision
from comdefend.training.folder import check_folder, open_folder
from comdefend.training.prepared import Prepared, warn_of_few_steps
from comdefend.training.recipe import Recipe, recipe_to_dict
from comdefend.training.unfinished import unfinished_file
from comdefend.zoo import save_weights

_PREPARE: dict[str, Callable[[Any, Path], Prepared]] = {
    "purifier": purifier.prepare,
    "classifier": classifier.prepare,
    "denoiser": denoiser.prepare,
    "pixelcnn": pixelcnn.prepare,
    "defense": defense.prepare,
    "guided": guided.prepare,
}
_CARDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "purifier": purifier.card,
    "classifier": classifier.card,
    "denoiser": denoiser.card,
    "pixelcnn": pixelcnn.card,
    "defense": defense.card,
    "guided": guided.card,
}


def train(
    recipe: Recipe, output: Path, precision: Precision = "auto", devices: int = 1
) -> Path | None:
    """Train by a recipe, or go on with a training that was stopped.

    A run that was stopped in any way goes on from its last checkpoint when called again with the
    same recipe, output and precision, and ends with the weights of an uninterrupted run.

    Args:
        recipe: Of any kind.
        output: The run's folder. It receives logs, checkpoints, for purifiers a picture of
            reconstructions per epoch, the weights so far (`UnfinishedWeights`), and at the end the
            weights, each file with a model card.
        precision: Number format of the computation.
        devices: Processes that train together; more than one only for a `PurifierRecipe`.

    Returns:
        The weight file, ``output / recipe.weights_file``; None in processes other than the first,
        which write nothing. Classifiers are stored in 16 bits, and measured as stored. A
        `DefenseRecipe` with a purifier leaves ``purifier.safetensors`` as well.

    Raises:
        InputError: Bad arguments, the folder holds a run of another recipe or in another precision,
            there is too little data, or networks and data do not fit together.
        DataMissingError: The data or weights to start from do not exist.
    """
    _check(recipe, precision, devices)
    computed_in = resolve_precision(precision)
    check_folder(output, recipe, computed_in)
    # A start that fails must not leave a folder that then refuses the corrected recipe.
    training = prepare(recipe, output)
    open_folder(output, recipe, computed_in)
    warn_of_few_steps(recipe, training.module.steps)
    trainer = fit(training, output, computed_in, devices)
    if not trainer.is_global_zero:
        return None
    finished = training.finish()
    record = {
        "recipe": recipe_to_dict(recipe),
        **finished.measured,
        "run": _run_facts(training.images, trainer),
        "versions": {"comdefend": __version__, "torch": str(torch.__version__)},
    }
    for network in finished.networks:
        half = isinstance(network, SmallClassifier)
        save_weights(output / f"{network.kind}.safetensors", network, record, half)
        atomic_write(output / f"{network.kind}.md", model_card(record).encode())
        unfinished_file(output, network.kind).unlink(missing_ok=True)
    return output / recipe.weights_file


def prepare(recipe: Recipe, output: Path) -> Prepared:
    """Load the data and build the networks of a training, which may keep work in its folder.

    Raises:
        InputError: There is too little data, or networks and data do not fit together.
        DataMissingError: The data or weights to start from do not exist.
    """
    return _PREPARE[recipe.kind](recipe, output)


def model_card(record: dict[str, Any]) -> str:
    """Return the model card of a weight file's record, in Markdown."""
    return _CARDS[record["recipe"]["kind"]](record)


def _check(recipe: Recipe, precision: str, devices: int) -> None:
    """Check everything that can be checked before the data is loaded."""
    if precision not in (choices := typing.get_args(Precision)):
        raise InputError(f"precision must be one of {', '.join(choices)}, not '{precision}'")
    if devices > 1 and recipe.kind != "purifier":
        raise InputError(f"devices: a {recipe.kind} is trained by one process, not {devices}")
    if recipe.batch % devices:
        raise InputError(f"batch ({recipe.batch}) must be a multiple of devices ({devices})")


def _run_facts(images: Tensor | list[Path], trainer: Trainer) -> dict[str, Any]:
    """Return what a record says about the run. Images that were read one by one have no hash."""
    pixels = images.contiguous().numpy().data if isinstance(images, Tensor) else None
    return {
        "training_images": len(images),
        "training_sha256": None if pixels is None else hashlib.sha256(pixels).hexdigest(),
        "device": str(trainer.strategy.root_device),
        "precision": trainer.precision,
        "processes": trainer.world_size,
    }
