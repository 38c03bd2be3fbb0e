"""Architectures of other libraries, without weights: nothing is downloaded."""

from collections.abc import Callable
from pathlib import Path

import msgspec
from torch import nn

from comdefend.classifiers.checkpoints import classes_in
from comdefend.common.extras import require
from comdefend.errors import InputError


class Library(msgspec.Struct, frozen=True):
    """A library of architectures.

    Attributes:
        about: What its names stand for, in a phrase.
        has: Whether it has a classifier of this name.
        make: Returns the classifier of a name with random weights, of so many classes or of its
            usual number.
    """

    about: str
    has: Callable[[str], bool]
    make: Callable[[str, int | None], nn.Module]


def _torchvision_has(name: str) -> bool:
    models = require("torchvision.models", "evaluate")
    # The names of the module itself are classifiers. Those of its submodules segment or detect,
    # and some of them would download a backbone.
    return name in models.list_models(module=models)


def _torchvision(name: str, classes: int | None) -> nn.Module:
    number = {} if classes is None else {"num_classes": classes}
    return require("torchvision.models", "evaluate").get_model(name, weights=None, **number)


def _timm_has(name: str) -> bool:
    # timm would look other names up on a hub.
    return require("timm", "evaluate").is_model(name)


def _timm(name: str, classes: int | None) -> nn.Module:
    # None stands for the usual number.
    return require("timm", "evaluate").create_model(name, pretrained=False, num_classes=classes)


LIBRARIES: dict[str, Library] = {
    "torchvision": Library(
        "an architecture of torchvision, with --checkpoint", _torchvision_has, _torchvision
    ),
    "timm": Library("an architecture of timm, with --checkpoint", _timm_has, _timm),
}
"""What stands before the colon -> library; a new one is a new row."""


def make_architecture(library: str, name: str, checkpoint: Path | None) -> nn.Module:
    """Return a network of a library, with random weights and as many classes as a checkpoint.

    Raises:
        InputError: The library has no such classifier, or the checkpoint is missing.
        ExtraMissingError: The library is not installed.
    """
    if not LIBRARIES[library].has(name):
        raise InputError(f"{library} has no classifier '{name}'; see {library}'s list_models()")
    if checkpoint is None:
        raise InputError(
            f"{library}:{name} needs a checkpoint, the file of its weights: nothing is downloaded"
        )
    network = LIBRARIES[library].make(name, None)
    classes = classes_in(checkpoint, network)
    return network if classes is None else LIBRARIES[library].make(name, classes)
