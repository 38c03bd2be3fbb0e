"""A denoiser to train by what a classifier makes of its images (Liao et al., CVPR 2018)."""

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from comdefend.errors import InputError
from comdefend.nn.config import MAX_WIDTH, NetworkConfig, check_integer
from comdefend.nn.gradient import straight_through
from comdefend.nn.images import check_images, pad_to_multiple

# Every level halves the resolution.
MAX_LEVELS = 6
# Perturbations are a few hundredths of the range of values: the last filter then has the scale of
# all others, and one learning rate does for all.
PERTURBATION_SCALE = 0.1


@dataclass(frozen=True, slots=True)
class DenoiserConfig(NetworkConfig):
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
        if self.channels not in (1, 3):
            raise InputError(f"channels must be 1 (grey) or 3 (RGB), not {self.channels!r}")
        if not isinstance(self.widths, tuple) or not 1 <= len(self.widths) <= MAX_LEVELS:
            raise InputError(f"widths must be a list of 1 to {MAX_LEVELS} widths: {self.widths!r}")
        for width in self.widths:
            check_integer("widths", width, MAX_WIDTH)


class Denoiser(nn.Module):
    """A U-Net that predicts an image's perturbation and takes it off (DUNET, Liao et al. 2018).

    Two convolutions a level on the way down, one a level on the way up, where what comes from
    below is added to what was there on the way down. Smaller than the paper's, which concatenates.
    An untrained one returns the images as they are.

    Args:
        config: The architecture.
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = nn.Sequential(_block(config.channels, widths[0]), _block(widths[0], widths[0]))
        self.down = nn.ModuleList(
            nn.Sequential(_block(above, below, stride=2), _block(below, below))
            for above, below in pairwise(widths)
        )
        # From the bottom to the top, the order in which they are used.
        steps = list(pairwise(widths))[::-1]
        self.narrow = nn.ModuleList(nn.Conv2d(below, above, 1) for above, below in steps)
        self.up = nn.ModuleList(_block(above, above) for above, _ in steps)
        self.last = nn.Conv2d(widths[0], config.channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Denoise images: (N, C, H, W) float in [0, 1], any H and W -> the same.

        Values are cut off at 0 and 1 with a straight-through gradient, so that an attack does not
        lose its way at black and white pixels.

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
