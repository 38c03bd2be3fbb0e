"""A training that is ready to start, and what the kinds of recipe share on the way there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from comdefend.data.image_set import ImageSet
from comdefend.data.sources import has_test_split, load_image_set
from comdefend.errors import InputError
from comdefend.nn.classifier import SmallClassifier
from comdefend.nn.network import Network
from comdefend.training.descent import Descent
from comdefend.training.kinds import Recipe


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


def check_enough(count: int, recipe: Recipe, least: int = 1) -> None:
    """Check that a data set has enough training images.

    Args:
        count: Their number.
        recipe: How many of them are held out.
        least: How many training needs besides.

    Raises:
        InputError: They are too few.
    """
    if count < recipe.validation + least:
        raise InputError(
            f"{recipe.data}: {count} images are too few, {recipe.validation} are held out for "
            f"validation and training needs {least}"
        )


def measured_images(data: str, channels: int, held_out: ImageSet) -> tuple[ImageSet, str]:
    """Return what to measure a trained network on, and what records call it.

    The data set's test images, or, if it has none, the training images that were held out.
    """
    if has_test_split(data):
        return load_image_set(data, "test", channels), "test"
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
