"""Models of timm with their own data configuration."""

from typing import Any

from torch import nn

from comdefend.classifiers import Normalized
from comdefend.common.defaults import RECOMMENDED
from comdefend.common.extras import require
from comdefend.defenses import DefendedClassifier
from comdefend.integrations.arrays import opened


def defended(model: nn.Module, purifier: str | nn.Module = RECOMMENDED) -> DefendedClassifier:
    """Put a purifier before a model of timm, and normalise between the two as the model expects.

    `open_classifier` takes ``timm:NAME`` with a checkpoint instead, which brings its own classes.

    Args:
        model: As ``timm.create_model`` returns it, with whatever weights, in evaluation mode.
        purifier: A name as `load_defense` takes it, or an ``nn.Module``, images to images.

    Returns:
        Images in [0, 1], as `image_transform` prepares them, to logits.

    Raises:
        InputError: Unknown name, or a purifier in training mode.
        InputTypeError: One of them is not an ``nn.Module``.
        ExtraMissingError: timm is not installed.
    """
    known = _configuration(model)
    return DefendedClassifier(opened(purifier), Normalized(model, known["mean"], known["std"]))


def image_transform(model: nn.Module) -> Any:
    """Return how images are resized and cropped for a model: a PIL image to (C, H, W) in [0, 1].

    It is timm's own transform for evaluation, without the normalisation, which `defended` does.

    Raises:
        ExtraMissingError: timm is not installed.
    """
    known = _configuration(model)
    unchanged = {"mean": [0.0] * len(known["mean"]), "std": [1.0] * len(known["std"])}
    return require("timm.data", "evaluate").create_transform(**{**known, **unchanged})


def _configuration(model: nn.Module) -> dict[str, Any]:
    return require("timm.data", "evaluate").resolve_model_data_config(model)
