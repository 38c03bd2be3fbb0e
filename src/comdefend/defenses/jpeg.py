"""JPEG coding and decoding."""

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from comdefend.defenses.transformation import StraightThrough, check_side
from comdefend.errors import InputError
from comdefend.nn.config import check_integer

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
        pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        coded = torch.stack([self._recoded(image) for image in pixels])
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
