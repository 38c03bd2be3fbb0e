"""Small classifiers for 28x28 to 32x32 images, that ship with the package."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from comdefend.errors import InputError
from comdefend.nn.config import MAX_WIDTH, check_integer

MAX_CLASSES = 100_000


@dataclass(frozen=True, slots=True)
class ClassifierConfig:
    """Architecture of a `SmallResNet`.

    Attributes:
        channels: Channels of the images.
        classes: Number of classes.
        widths: Channels after the stem and after each of the three stages.
        mean: Mean of the training images, for each channel.
        std: Their standard deviation, for each channel.

    Raises:
        InputError: A field is out of its range.
    """

    channels: int = 3
    classes: int = 10
    widths: tuple[int, int, int, int] = (32, 64, 128, 256)
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise InputError(f"channels must be 1 (grey) or 3 (RGB), not {self.channels!r}")
        check_integer("classes", self.classes, MAX_CLASSES)
        if not isinstance(self.widths, tuple) or len(self.widths) != 4:
            raise InputError(f"widths must be four integers: {self.widths!r}")
        for width in self.widths:
            check_integer("widths", width, MAX_WIDTH)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not isinstance(values, tuple) or len(values) != self.channels:
                raise InputError(f"{name} needs {self.channels} values: {values!r}")
            if not all(isinstance(value, int | float) for value in values):
                raise InputError(f"{name} must be numbers: {values!r}")
        if not all(value > 0 for value in self.std):
            raise InputError(f"std must be positive: {self.std!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a configuration from `to_dict`'s output.

        Raises:
            InputError: A key is unknown, or a value is out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise InputError(f"unknown configuration keys {unknown}; known: {sorted(known)}")
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**fields)


class SmallResNet(nn.Module):
    """A ResNet-9 (Page 2018) of chosen widths: eight convolutions, two shortcuts, one linear layer.

    Takes images in [0, 1], normalises them itself, returns logits:
    (N, C, H, W) -> (N, classes). Each of the three stages begins with a convolution and a
    pooling that halves the resolution; the first and the last end with a shortcut.

    Args:
        config: The architecture, and the statistics of the training images.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        stem, first, second, third = config.widths
        self.register_buffer("mean", torch.tensor(config.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(1, -1, 1, 1))
        self.layers = nn.Sequential(
            _block(config.channels, stem),
            _block(stem, first, pool=True),
            _Residual(first),
            _block(first, second, pool=True),
            _block(second, third, pool=True),
            _Residual(third),
        )
        self.head = nn.Linear(third, config.classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images in [0, 1].

        Raises:
            InputError: The images have another number of channels.
        """
        # One channel would be broadcast to three, and give an answer to another question.
        if images.shape[1] != self.config.channels:
            raise InputError(
                f"images: have {images.shape[1]} channels, this classifier takes "
                f"{self.config.channels}"
            )
        # The factor keeps early logits small beside the cross-entropy's scale (Page 2018).
        features = self.layers((images - self.mean) / self.std)
        return 0.125 * self.head(features.amax((2, 3)))


def _block(inputs: int, outputs: int, pool: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
    if pool:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs), nn.GELU())


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_block(width, width), _block(width, width))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)
