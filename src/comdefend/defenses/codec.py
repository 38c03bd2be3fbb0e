"""Image codecs as defences: coding and decoding, in the formats that people have anyway."""

import io
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from comdefend.defenses.transformation import StraightThrough, check_side
from comdefend.errors import InputError
from comdefend.nn.config import check_integer
from comdefend.nn.images import to_bytes

# Pillow advises against more: above 95 libjpeg turns parts of its compression off.
_MAX_QUALITY = 95


class JPEG(StraightThrough):
    """JPEG coding and decoding by Pillow (Das et al. 2017; Guo et al. 2018).

    Colour is coded at half resolution (4:2:0), the default of JPEG files. Most images were JPEG
    files once, and lose little when they are coded again on the same grid of blocks. ``offset``
    shifts the grid, and so shows what JPEG does to an image that it has not coded before.

    Args:
        quality: From 1 to 95.
        offset: Pixels by which the grid of blocks moves down and to the right, from 0 to 15 (the
            period of the grid of colour). Images are padded by reflection at the left and the top,
            and cropped afterwards; they must be larger than the offset.

    Raises:
        InputError: A parameter is out of its range.
    """

    def __init__(self, quality: int, offset: int = 0) -> None:
        super().__init__()
        check_integer("quality", quality, _MAX_QUALITY)
        if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset <= 15:
            raise InputError(f"offset must be an integer from 0 to 15, not {offset!r}")
        self.quality, self.offset = quality, offset

    def transform(self, images: Tensor) -> Tensor:
        """Code and decode."""
        offset = self.offset
        if offset:
            check_side("offset", offset + 1, images)
            images = F.pad(images, (offset, 0, offset, 0), mode="reflect")
        coded = _recoded(images, format="JPEG", quality=self.quality)
        return coded[..., offset:, offset:]

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"quality={self.quality}, offset={self.offset}"


class WebP(StraightThrough):
    """Lossy WebP coding and decoding by Pillow.

    Args:
        quality: From 0 to 100.

    Raises:
        InputError: It is out of its range.
    """

    def __init__(self, quality: int) -> None:
        super().__init__()
        if not isinstance(quality, int) or isinstance(quality, bool) or not 0 <= quality <= 100:
            raise InputError(f"quality must be an integer from 0 to 100, not {quality!r}")
        self.quality = quality

    def transform(self, images: Tensor) -> Tensor:
        """Code and decode."""
        return _recoded(images, format="WEBP", quality=self.quality)

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"quality={self.quality}"


def _recoded(images: Tensor, **options: Any) -> Tensor:
    """Return images as they come out of files: (N, C, H, W) in [0, 1] -> the same."""
    pixels = to_bytes(images.clamp(0, 1)).cpu()
    return torch.stack([_through_file(image, options) for image in pixels]).to(images) / 255


def _through_file(pixels: Tensor, options: dict[str, Any]) -> Tensor:
    """(C, H, W) uint8 -> the same."""
    channels_last = pixels.permute(1, 2, 0).numpy()
    image = Image.fromarray(channels_last[..., 0] if len(pixels) == 1 else channels_last)
    file = io.BytesIO()
    image.save(file, **options)
    with Image.open(file) as decoded:
        # WebP has no grey images.
        array = np.array(decoded.convert(image.mode)).reshape(channels_last.shape)
    return torch.from_numpy(array).permute(2, 0, 1)
