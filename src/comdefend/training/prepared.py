"""A training that is ready to start, and what the kinds of recipe share on the way there."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from comdefend.data.image_set import ImageSet
from comdefend.data.sources import load_image_set, name_test_split
from comdefend.errors import InputError
from comdefend.nn.classifier import SmallClassifier
from comdefend.nn.network import Network
from comdefend.training.card import counted
from comdefend.training.descent import Descent
from comdefend.training.kinds import ClassifierRecipe, DefenseRecipe, Recipe


@dataclass(frozen=True)
class Finished:
    """The outcome of a training.

    Attributes:
        networks: What to save, in evaluation mode, each of another kind.
        measured: What the record says besides recipe, run and versions; JSON types.
    """

    networks: tuple[Network, ...]
    measured: dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """A training that is ready to start: everything that differs between the kinds of recipe.

    Attributes:
        module: What Lightning trains.
        train: The batches of an epoch.
        validation: What to validate on after every epoch.
        epochs: Number of epochs.
        images: The training images, (N, C, H, W) uint8, or their files.
        finish: Called after the last epoch, in the first process: measures what was trained.
        callbacks: Besides those of all trainings.
    """

    module: Descent
    train: DataLoader[Any]
    validation: DataLoader[Any]
    epochs: int
    images: Tensor | list[Path]
    finish: Callable[[], Finished]
    callbacks: tuple[Callback, ...] = ()


def held_out_count(count: int, recipe: Recipe, least: int = 1) -> int:
    """Return how many images of a data set to hold out for validation.

    What the recipe says; the default of its kind is at most a tenth of the images.

    Args:
        count: Number of images in the training split.
        recipe: How many of them to hold out.
        least: How many training needs besides.

    Raises:
        InputError: They are too few.
    """
    held_out = recipe.validation
    defaults = {field.name: field.default for field in msgspec.structs.fields(type(recipe))}
    if held_out == defaults["validation"]:
        held_out = max(1, min(held_out, count // 10))
    if count < held_out + least:
        raise InputError(
            f"{recipe.data}: {count} images are too few, {held_out} are held out for validation "
            f"(--validation) and training needs {least}"
        )
    return held_out


class FewStepsWarning(UserWarning):
    """A training is so short that nothing can come of it."""


_NEW, _STARTED = 500, 50


def warn_of_few_steps(recipe: Recipe, steps: int) -> None:
    """Warn where a training has far too few steps: 500 for new networks, 50 for trained ones.

    Args:
        recipe: What to train by.
        steps: All steps of the training.
    """
    started = getattr(recipe, "start", None) is not None or (
        isinstance(recipe, DefenseRecipe) and recipe.network is None
        and recipe.opened is not None
    )  # fmt: skip
    if steps >= (least := _STARTED if started else _NEW):
        return
    more = f"--steps {least}"
    if isinstance(recipe, ClassifierRecipe | DefenseRecipe):
        epochs = math.ceil(least * recipe.epochs / max(1, steps))
        more = f"--epochs {epochs} (at this --batch)"
    warnings.warn(
        f"{counted(steps, 'step')} are far too few to learn anything; give {more} or more",
        FewStepsWarning,
        stacklevel=2,
    )


def measured_images(data: str, channels: int, held_out: ImageSet) -> tuple[ImageSet, str]:
    """Return what to measure a trained network on, and what records call it.

    The data set's test images, or, if it has none, the training images that were held out.
    """
    if split := name_test_split(data):
        return load_image_set(data, "test", channels), split
    return held_out, "held out of training"


@torch.no_grad()
def rounded_to_16_bits(network: SmallClassifier) -> SmallClassifier:
    """Round the weights of a classifier in place, as its file will hold them, and return it."""
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
    return network


def count_parameters(*networks: nn.Module) -> int:
    """Return the number of parameters of several networks together."""
    return sum(p.numel() for network in networks for p in network.parameters())
