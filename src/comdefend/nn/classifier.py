"""Small classifiers for 28x28 to 32x32 images, that ship with the package."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comdefend.errors import InputError
from comdefend.nn.config import MAX_WIDTH, NetworkConfig, check_integer

MAX_CLASSES = 100_000


@dataclass(frozen=True, slots=True)
class ClassifierConfig(NetworkConfig):
    """Architecture of a `SmallClassifier`.

    Attributes:
        channels: Channels of the images.
        classes: Number of classes.
        architecture: A name of `ARCHITECTURES`.
        widths: Four widths that grow with depth: the architecture says of what.
        mean: Mean of the training images, for each channel.
        std: Their standard deviation, for each channel.

    Raises:
        InputError: A field is out of its range.
    """

    channels: int = 3
    classes: int = 10
    architecture: str = "resnet9"
    widths: tuple[int, int, int, int] = (32, 64, 128, 256)
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise InputError(f"channels must be 1 (grey) or 3 (RGB), not {self.channels!r}")
        check_integer("classes", self.classes, MAX_CLASSES)
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise InputError(f"unknown architecture {self.architecture!r}; known: {known}")
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


class SmallClassifier(nn.Module):
    """A convolutional network for small images, whose features' maxima one linear layer reads.

    Takes images in [0, 1], normalises them itself, returns logits:
    (N, C, H, W) -> (N, classes).

    Args:
        config: The architecture, and the statistics of the training images.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(config.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(1, -1, 1, 1))
        self.layers, features = ARCHITECTURES[config.architecture](config.channels, config.widths)
        self.head = nn.Linear(features, config.classes, bias=False)
        # The layout in which CPUs compute convolutions fastest.
        self.to(memory_format=torch.channels_last)

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


_Widths = tuple[int, int, int, int]


def _resnet9(channels: int, widths: _Widths) -> tuple[nn.Sequential, int]:
    stem, first, second, third = widths
    layers = nn.Sequential(
        _block(channels, stem),
        _block(stem, first, pool=True),
        _Residual(first),
        _block(first, second, pool=True),
        _block(second, third, pool=True),
        _Residual(third),
    )
    return layers, third


def _vgg(channels: int, widths: _Widths) -> tuple[nn.Sequential, int]:
    stages = [
        nn.Sequential(_block(inputs, width), _block(width, width, pool=depth < 3))
        for depth, (inputs, width) in enumerate(zip((channels, *widths), widths, strict=False))
    ]
    return nn.Sequential(*stages), widths[-1]


def _densenet(channels: int, widths: _Widths) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = []
    inputs = channels
    for width in widths:
        if layers:
            layers += [_block(inputs, inputs // 2, kernel=1), nn.AvgPool2d(2)]
            inputs //= 2
        growth = max(1, width // 4)
        for _ in range(4):
            layers.append(_Dense(inputs, growth))
            inputs += growth
    return nn.Sequential(*layers), inputs


def _resnet50(channels: int, widths: _Widths) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = [_block(channels, widths[0])]
    inputs = widths[0]
    for stage, (width, blocks) in enumerate(zip(widths, (3, 4, 6, 3), strict=True)):
        for block in range(blocks):
            layers.append(_Bottleneck(inputs, width, stride=2 if stage and not block else 1))
            inputs = 4 * width
    return nn.Sequential(*layers), inputs


ARCHITECTURES: dict[str, Callable[[int, _Widths], tuple[nn.Sequential, int]]] = {
    "resnet9": _resnet9,
    "vgg": _vgg,
    "densenet": _densenet,
    "resnet50": _resnet50,
}
"""Name -> the layers and how many features come out of them, given channels and widths.

- ``resnet9`` (Page 2018): widths after the stem and after each of three stages that halve the
  resolution; the first and the last end with a shortcut.
- ``vgg`` (Simonyan and Zisserman 2015): two convolutions of each width, with batch normalisation,
  and a pooling between one width and the next.
- ``densenet`` (Huang et al. 2017): four dense blocks of four convolutions, each of which adds a
  quarter of the block's width.
- ``resnet50`` (He et al. 2016): bottlenecks of these inner widths, 3, 4, 6 and 3 of them. As usual
  for small images, the stem is a 3x3 convolution that keeps the resolution. The network of the
  paper has the widths 64, 128, 256, 512.
"""


def _block(inputs: int, outputs: int, pool: bool = False, kernel: int = 3) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
    ]
    if pool:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs), nn.GELU())


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_block(width, width), _block(width, width))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


class _Dense(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.layers = _block(inputs, growth)

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([features, self.layers(features)], 1)


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.layers = nn.Sequential(
            _block(inputs, width, kernel=1),
            nn.Conv2d(width, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.GELU(),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, features: Tensor) -> Tensor:
        return F.gelu(self.shortcut(features) + self.layers(features))
