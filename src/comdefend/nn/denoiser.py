"""A denoiser, trained on the outputs of a classifier behind it (HGD, Liao et al., CVPR 2018)."""

from itertools import pairwise

import msgspec
import torch.nn.functional as F
from torch import Tensor, nn

from comdefend.nn.config import check_channels, check_widths
from comdefend.nn.gradient import straight_through
from comdefend.nn.images import check_images, pad_to_multiple
from comdefend.nn.network import Network

# Each level halves the resolution.
MAX_LEVELS = 6
# Perturbations are a few hundredths of the range of values. With this factor the last filter has
# the scale of the others, and one learning rate suits all.
PERTURBATION_SCALE = 0.1


class DenoiserConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Architecture of a `Denoiser`.

    Attributes:
        channels: Channels of the images, 3 for RGB and 1 for grey.
        widths: Channels at the full resolution and at every halving of it.

    Raises:
        InputError: A field is out of its range.
    """

    channels: int = 3
    widths: tuple[int, ...] = (32, 64, 128)

    def __post_init__(self) -> None:
        check_channels(self.channels)
        check_widths("widths", self.widths, MAX_LEVELS)


class Denoiser(Network):
    """A U-Net that predicts a perturbation and subtracts it (DUNET, Liao et al. 2018).

    Two convolutions per level on the way down, one per level on the way up. Features from below
    are added to those of the way down; the paper's larger network concatenates them. An untrained
    denoiser returns the images as they are.

    Args:
        config: The architecture.
    """

    kind = "denoiser"
    config_type = DenoiserConfig
    config: DenoiserConfig

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = nn.Sequential(_block(config.channels, widths[0]), _block(widths[0], widths[0]))
        self.down = nn.ModuleList(
            nn.Sequential(_block(above, below, stride=2), _block(below, below))
            for above, below in pairwise(widths)
        )
        # From the bottom to the top, in the order of use.
        steps = list(pairwise(widths))[::-1]
        self.narrow = nn.ModuleList(nn.Conv2d(below, above, 1) for above, below in steps)
        self.up = nn.ModuleList(_block(above, above) for above, _ in steps)
        self.last = nn.Conv2d(widths[0], config.channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Denoise images: (N, C, H, W) float in [0, 1], any H and W -> the same.

        Values are clamped to [0, 1] with a straight-through gradient, so that black and white
        pixels do not hide the gradient from an attack.

        Raises:
            InputError: Wrong shape, channel count or range, or NaN.
            InputTypeError: Not a tensor of the weights' float type.
        """
        check_images(images, self.config.channels, self.last.weight.dtype)
        height, width = images.shape[-2:]
        padded = pad_to_multiple(images, 2 ** len(self.down))
        perturbation = PERTURBATION_SCALE * self._perturbation(padded)[..., :height, :width]
        denoised = images - perturbation
        return straight_through(denoised, denoised.detach().clamp(0, 1))

    def _perturbation(self, images: Tensor) -> Tensor:
        features = self.stem(2 * images - 1)
        levels: list[Tensor] = []
        for down in self.down:
            levels.append(features)
            features = down(features)
        for narrow, up in zip(self.narrow, self.up, strict=True):
            below = F.interpolate(narrow(features), scale_factor=2.0)
            features = up(levels.pop() + below)
        return self.last(features)


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
