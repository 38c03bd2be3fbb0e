"""Small classifiers for images of 28x28 to 32x32 pixels."""

from collections.abc import Callable

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comdefend.errors import InputError
from comdefend.nn.config import MAX_WIDTH, check_channels, check_integer
from comdefend.nn.network import Network

MAX_CLASSES = 100_000
# Bounds of the statistics: far from any image's, and nowhere near the limits of float32.
MAX_STATISTIC, MIN_STD = 1e6, 1e-6


class ClassifierConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Architecture of a `SmallClassifier`.

    Attributes:
        channels: Channels of the images, 3 for RGB and 1 for grey.
        classes: Number of classes.
        architecture: ``resnet9``, ``vgg``, ``densenet`` or ``resnet50``.
        widths: Four widths, from the first stage to the last.
        mean: Mean of the training images, per channel.
        std: Standard deviation of the training images, per channel.

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
        check_channels(self.channels)
        check_integer("classes", self.classes, MAX_CLASSES)
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise InputError(f"unknown architecture {self.architecture!r}; known: {known}")
        if not isinstance(self.widths, tuple) or len(self.widths) != 4:
            raise InputError(f"widths must be four integers, not {self.widths!r}")
        for width in self.widths:
            check_integer("widths", width, MAX_WIDTH)
        for name, values, lowest in (
            ("mean", self.mean, -MAX_STATISTIC),
            ("std", self.std, MIN_STD),
        ):
            if not isinstance(values, tuple) or len(values) != self.channels:
                raise InputError(f"{name} needs {self.channels} values, not {values!r}")
            if not all(lowest <= value <= MAX_STATISTIC for value in values):
                raise InputError(
                    f"{name} must be numbers from {lowest:g} to {MAX_STATISTIC:g}, not {values!r}"
                )


class SmallClassifier(Network):
    """A convolutional network for small images: features, their spatial maximum, a linear layer.

    Takes images in [0, 1], which it normalises itself, and returns logits:
    (N, C, H, W) -> (N, classes).

    Args:
        config: The architecture, and the statistics of the training images.
    """

    kind = "classifier"
    config_type = ClassifierConfig
    config: ClassifierConfig

    mean: Tensor
    std: Tensor

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(config.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(1, -1, 1, 1))
        self.layers, features = ARCHITECTURES[config.architecture](config.channels, config.widths)
        self.head = nn.Linear(features, config.classes, bias=False)
        # The memory layout in which CPUs compute convolutions fastest.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images in [0, 1].

        Raises:
            InputError: The images have another number of channels.
        """
        # Without this, one channel would silently be broadcast to three.
        if images.shape[1] != self.config.channels:
            raise InputError(
                f"images: have {images.shape[1]} channels, this classifier takes "
                f"{self.config.channels}"
            )
        # The factor keeps the logits small at the start of training (Page 2018).
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
"""Name -> function of channels and widths that returns the layers and their number of outputs.

- ``resnet9`` (Page 2018): widths after the stem and after each of three stages that halve the
  resolution; the first and the last stage end with a residual block.
- ``vgg`` (Simonyan and Zisserman 2015): two convolutions of each width, with batch normalisation,
  and pooling between the widths.
- ``densenet`` (Huang et al. 2017): four dense blocks of four convolutions; each convolution adds a
  quarter of the width of its block.
- ``resnet50`` (He et al. 2016): 3, 4, 6 and 3 bottlenecks of these inner widths. As usual for small
  images, the stem is a 3x3 convolution that keeps the resolution. The paper's network has the
  widths 64, 128, 256, 512.
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
