"""Architectures of other libraries, without weights: nothing is downloaded."""

import math
from collections.abc import Callable
from pathlib import Path

import msgspec
from torch import nn

from comdefend.classifiers.checkpoints import classes_in
from comdefend.classifiers.preprocessing import Preprocessing
from comdefend.common.extras import require
from comdefend.errors import InputError


class Library(msgspec.Struct, frozen=True):
    """A library of architectures.

    Attributes:
        about: What its names stand for, in a phrase.
        has: Whether it has a classifier of this name.
        make: Returns the classifier of a name with random weights, of so many classes or of its
            usual number.
        preprocessing: Returns how images are prepared for the classifier of a name.
    """

    about: str
    has: Callable[[str], bool]
    make: Callable[[str, int | None], nn.Module]
    preprocessing: Callable[[str], Preprocessing]


def _torchvision_has(name: str) -> bool:
    models = require("torchvision.models", "evaluate")
    # The names of the module itself are classifiers. Those of its submodules segment or detect,
    # and some of them would download a backbone.
    return name in models.list_models(module=models)


def _torchvision(name: str, classes: int | None) -> nn.Module:
    number = {} if classes is None else {"num_classes": classes}
    return require("torchvision.models", "evaluate").get_model(name, weights=None, **number)


def _torchvision_preprocessing(name: str) -> Preprocessing:
    weights = require("torchvision.models", "evaluate").get_model_weights(name).DEFAULT
    known = weights.transforms()
    return Preprocessing(
        f"torchvision's {weights}",
        known.resize_size[0],
        known.crop_size[0],
        tuple(known.mean),
        tuple(known.std),
    )


def _timm_has(name: str) -> bool:
    timm = require("timm", "evaluate")
    # timm would look other names up on a hub.
    if not timm.is_model(name):
        return False
    # What follows a dot names one of several weights, each with its own configuration.
    return "." not in name or timm.is_model_pretrained(name)


def _timm(name: str, classes: int | None) -> nn.Module:
    # None stands for the usual number.
    return require("timm", "evaluate").create_model(name, pretrained=False, num_classes=classes)


def _timm_preprocessing(name: str) -> Preprocessing:
    config = require("timm", "evaluate").get_pretrained_cfg(name).to_dict()
    known = require("timm.data", "evaluate").resolve_data_config(pretrained_cfg=config)
    _, height, width = known["input_size"]
    square = height == width
    return Preprocessing(
        f"timm's configuration of {name}",
        math.floor(height / known["crop_pct"]) if square else 0,
        height if square else 0,
        tuple(known["mean"]),
        tuple(known["std"]),
    )


LIBRARIES: dict[str, Library] = {
    "torchvision": Library(
        "an architecture of torchvision, with --checkpoint",
        _torchvision_has,
        _torchvision,
        _torchvision_preprocessing,
    ),
    "timm": Library(
        "an architecture of timm, with --checkpoint", _timm_has, _timm, _timm_preprocessing
    ),
}
"""What stands before the colon -> library; a new one is a new row."""


def make_architecture(library: str, name: str, checkpoint: Path | None) -> nn.Module:
    """Return a network of a library, with random weights and as many classes as a checkpoint.

    Raises:
        InputError: The library has no such classifier, or the checkpoint is missing.
        ExtraMissingError: The library is not installed.
    """
    chosen = _library(library, name)
    if checkpoint is None:
        raise InputError(
            f"{library}:{name} needs a checkpoint, the file of its weights: nothing is downloaded"
        )
    network = chosen.make(name, None)
    classes = classes_in(checkpoint, network)
    return network if classes is None else chosen.make(name, classes)


def library_preprocessing(library: str, name: str) -> Preprocessing:
    """Return how images are prepared for a network of a library, with the library's own weights.

    Raises:
        InputError: The library has no such classifier.
        ExtraMissingError: The library is not installed.
    """
    return _library(library, name).preprocessing(name)


def _library(library: str, name: str) -> Library:
    """Return a library that has a classifier of a name."""
    chosen = LIBRARIES[library]
    if not chosen.has(name):
        raise InputError(f"{library} has no classifier '{name}'; see {library}'s list_models()")
    return chosen
