"""Any recipe, trained."""

from pathlib import Path

from comdefend.errors import InputError
from comdefend.training.classifier import train_classifier
from comdefend.training.defense import train_defense
from comdefend.training.denoiser import train_denoiser
from comdefend.training.pixelcnn import train_pixelcnn
from comdefend.training.purifier import train_purifier
from comdefend.training.recipe import (
    DefenseRecipe,
    DenoiserRecipe,
    PixelCNNRecipe,
    PurifierRecipe,
    Recipe,
)
from comdefend.training.run import Precision


def train(
    recipe: Recipe, output: Path, precision: Precision = "auto", devices: int = 1
) -> Path | None:
    """Train what a recipe describes, or go on with it.

    Args:
        recipe: Of any kind.
        output: The run's folder.
        precision: ``auto``, ``32`` or ``bf16``.
        devices: Processes that train together, of purifiers only.

    Returns:
        The weight file, ``recipe.weights_file`` in the folder; None in processes that leave
        writing to the first.

    Raises:
        InputError: Bad use, or the folder holds a run of another recipe.
        DataMissingError: The data is not there.
    """
    if isinstance(recipe, PurifierRecipe):
        return train_purifier(recipe, output, precision, devices)
    if devices != 1:
        raise InputError(f"devices: a {recipe.kind} is trained by one process, not {devices}")
    if isinstance(recipe, DenoiserRecipe):
        return train_denoiser(recipe, output, precision)
    if isinstance(recipe, DefenseRecipe):
        return train_defense(recipe, output, precision)
    if isinstance(recipe, PixelCNNRecipe):
        return train_pixelcnn(recipe, output, precision)
    return train_classifier(recipe, output, precision)
