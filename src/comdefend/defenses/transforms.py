"""Input transformations: the defences that ComDefend is compared with.

Each is an ``nn.Module`` that takes and returns images, (N, C, H, W) float in [0, 1] with 1 or 3
channels, and treats every image by itself. None has weights or a training mode. Those that draw
at random say so by ``random = True`` and use torch's global generator, so that an attack can
average over draws and a caller can seed them.
"""

import io
import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from comdefend.common.extras import require
from comdefend.errors import InputError, InputTypeError
from comdefend.nn.config import check_integer
from comdefend.nn.gradient import straight_through
from comdefend.nn.images import RANGE_TOLERANCE

# What Pillow advises: above 95 libjpeg switches parts of its compression off.
MAX_QUALITY = 95


def is_random(module: nn.Module) -> bool:
    """Return whether a module, or one inside it, draws its output at random.

    A module says so by an attribute ``random`` that is True; one without it counts as
    deterministic.
    """
    return any(getattr(part, "random", False) is True for part in module.modules())


class _Transformation(nn.Module, ABC):
    """Checks the images and returns what `transform` makes of them."""

    random: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        # A module is born in training mode, in which nothing is attacked or measured.
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Transform images: (N, C, H, W) float in [0, 1], C 1 or 3 -> the same.

        Raises:
            InputError: Wrong shape or range, NaN, or images too small.
            InputTypeError: Not a float tensor.
        """
        _check_images(images)
        return self.transform(images)

    @abstractmethod
    def transform(self, images: Tensor) -> Tensor:
        """Transform images that have been checked."""


class _StraightThrough(_Transformation):
    """A transformation that backwards counts as the identity (`straight_through`)."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            transformed = super().forward(images)
        return straight_through(images, transformed)


class JPEG(_StraightThrough):
    """JPEG coding and decoding by Pillow (Das et al. 2017; Guo et al. 2018).

    Colour is coded at half resolution (4:2:0), as JPEG files are by default. Images that were JPEG
    files once, which are most, lose little when coded again on the same grid of blocks; ``offset``
    shifts the grid, and so tells what JPEG does to an image that it has not seen before.

    Args:
        quality: From 1 to 95.
        offset: Pixels by which the block grid is shifted to the bottom right, from 0 to 15 (the
            period of the grid of colour). The images are padded by reflection at the left and the
            top, and cut back afterwards; they must be larger than this.

    Raises:
        InputError: A parameter is out of its range.
    """

    def __init__(self, quality: int, offset: int = 0) -> None:
        super().__init__()
        check_integer("quality", quality, MAX_QUALITY)
        if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset <= 15:
            raise InputError(f"offset must be an integer from 0 to 15, not {offset!r}")
        self.quality, self.offset = quality, offset

    def transform(self, images: Tensor) -> Tensor:
        """Code and decode."""
        offset = self.offset
        if offset:
            _check_side("offset", offset + 1, images)
            images = F.pad(images, (offset, 0, offset, 0), mode="reflect")
        coded = torch.stack([self._recoded(pixels) for pixels in _bytes(images)])
        return coded.to(images)[..., offset:, offset:] / 255

    def _recoded(self, pixels: Tensor) -> Tensor:
        """(C, H, W) uint8 -> the same."""
        channels_last = pixels.permute(1, 2, 0).numpy()
        image = Image.fromarray(channels_last[..., 0] if len(pixels) == 1 else channels_last)
        file = io.BytesIO()
        image.save(file, format="JPEG", quality=self.quality)
        with Image.open(file) as decoded:
            array = np.array(decoded).reshape(channels_last.shape)
        return torch.from_numpy(array).permute(2, 0, 1)

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"quality={self.quality}, offset={self.offset}"


class BitDepth(_StraightThrough):
    """Rounding to 2^bits evenly spaced values (feature squeezing, Xu et al. 2018, Section III-A).

    Args:
        bits: From 1 to 8.

    Raises:
        InputError: ``bits`` is out of its range.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        check_integer("bits", bits, 8)
        self.bits = bits

    def transform(self, images: Tensor) -> Tensor:
        """Round."""
        steps = 2**self.bits - 1
        return (images.clamp(0, 1) * steps).round() / steps

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"bits={self.bits}"


class MedianSmoothing(_StraightThrough):
    """The median of a square window around each pixel (Xu et al. 2018, Section III-B).

    Each channel by itself; the border's pixels are repeated outwards. In torch, by unfolding, with
    the result of ``scipy.ndimage.median_filter(mode="nearest")``.

    Args:
        size: Side of the window: odd, at least 3, and at most the images' smaller side.

    Raises:
        InputError: ``size`` is even, or too small.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if not isinstance(size, int) or isinstance(size, bool) or size < 3 or size % 2 == 0:
            raise InputError(f"size must be an odd integer, at least 3, not {size!r}")
        self.size = size

    def transform(self, images: Tensor) -> Tensor:
        """Smooth."""
        _check_side("size", self.size, images)
        margin = self.size // 2
        padded = F.pad(images, (margin, margin, margin, margin), mode="replicate")
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1)
        return windows.flatten(-2).median(-1).values.clamp(0, 1)

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"size={self.size}"


class TotalVariation(_StraightThrough):
    """Total variation minimisation (Guo et al. 2018), by scikit-image.

    Chambolle's algorithm (2004) on each channel by itself. Guo et al. drop pixels at random before
    they minimise; this does not, and is deterministic.

    Args:
        weight: Of the total variation against the distance to the image, above 0.

    Raises:
        InputError: ``weight`` is not a finite number above 0.
        ExtraMissingError: The ``evaluate`` extra is not installed.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        _check_number("weight", weight, math.inf)
        self.weight = weight
        self._denoise: Any = require("skimage.restoration", "evaluate").denoise_tv_chambolle

    def transform(self, images: Tensor) -> Tensor:
        """Smooth."""
        smooth = [
            self._denoise(image, weight=self.weight, channel_axis=0)
            for image in images.double().cpu().numpy()
        ]
        return torch.from_numpy(np.stack(smooth)).to(images).clamp(0, 1)

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"weight={self.weight:g}"


class GaussianNoise(_Transformation):
    """Independent normal noise on every value, cut off at 0 and 1 (as Cohen et al. 2019 adds it).

    Random. The gradient is that of the cut-off sum, for the noise that was drawn.

    Args:
        std: Standard deviation, in units of the full range of values; above 0, at most 1.

    Raises:
        InputError: ``std`` is out of its range.
    """

    random = True

    def __init__(self, std: float) -> None:
        super().__init__()
        _check_number("std", std, 1)
        self.std = std

    def transform(self, images: Tensor) -> Tensor:
        """Add noise."""
        return (images + self.std * torch.randn_like(images)).clamp(0, 1)

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"std={self.std:g}"


class ResizePad(_Transformation):
    """Resizing to a random size and padding at a random position (Xie et al. 2018).

    Xie et al. enlarge images; to keep their shape this one shrinks them instead, bilinearly and
    with their proportions, to a height drawn evenly from round(smallest * H) to H, and pads them
    with zeros back to (H, W). Every image has its own draw.

    Random. The gradient is that of the size and position that were drawn.

    Args:
        smallest: Share of the side to which images shrink at most; above 0, at most 1.

    Raises:
        InputError: ``smallest`` is out of its range.
    """

    random = True

    def __init__(self, smallest: float = 0.85) -> None:
        super().__init__()
        _check_number("smallest", smallest, 1)
        self.smallest = smallest

    def transform(self, images: Tensor) -> Tensor:
        """Resize and pad."""
        return torch.cat([self._moved(image) for image in images.split(1)])

    def _moved(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        small_height = _drawn(max(1, round(self.smallest * height)), height)
        small_width = max(1, round(width * small_height / height))
        small = F.interpolate(image, (small_height, small_width), mode="bilinear")
        top = _drawn(0, height - small_height)
        left = _drawn(0, width - small_width)
        right, bottom = width - small_width - left, height - small_height - top
        padded = F.pad(small, (left, right, top, bottom))
        # Interpolation leaves [0, 1] by rounding alone, which must not cost white its gradient.
        return straight_through(padded, padded.detach().clamp(0, 1))

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"smallest={self.smallest:g}"


def _drawn(low: int, high: int) -> int:
    """Draw an integer from ``low`` to ``high``, both included."""
    return int(torch.randint(low, high + 1, ()))


def _bytes(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def _check_number(name: str, value: object, maximum: float) -> None:
    """Raise InputError where ``value`` is not finite, above 0 and at most ``maximum``."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 < value <= maximum:  # type: ignore[arg-type, operator]
        bound = "" if maximum == math.inf else f" and at most {maximum:g}"
        raise InputError(f"{name} must be a finite number above 0{bound}, not {value!r}")


def _check_side(name: str, needed: int, images: Tensor) -> None:
    height, width = images.shape[-2:]
    if min(height, width) < needed:
        raise InputError(
            f"images: sides of {height}x{width} are too small for this {name}, "
            f"which needs {needed} pixels"
        )


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise InputTypeError(f"images: must be a torch tensor, not {type(images).__name__}")
    if not images.is_floating_point():
        raise InputTypeError(
            f"images: must be float, not {images.dtype}; for 8-bit images divide by 255"
        )
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise InputError(
            f"images: must have shape (N, C, H, W) with 1 or 3 channels, not {tuple(images.shape)}"
        )
    if images.numel() == 0:
        raise InputError(f"images: empty, their shape is {tuple(images.shape)}")
    low, high = (bound.item() for bound in torch.aminmax(images.detach()))
    if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):
        raise InputError(f"images: must lie in [0, 1] without NaN, found {low:.4g} to {high:.4g}")
