"""A photograph that somebody hands over: limited, read, and prepared for a classifier."""

import io

import torch
from PIL import Image
from torch import Tensor

from comdefend.data.image import ReadImage
from comdefend.data.image_files import decode_image
from comdefend.data.listing import Wanted
from comdefend.errors import ImageError

MAX_MEGABYTES = 20
MAX_MEGAPIXELS = 50
"""The server sets it for all that is decoded, as `quiet_decoders` does."""


def read_photograph(data: bytes) -> Image.Image:
    """Return the central square of a photograph, upright, in RGB.

    Args:
        data: An image file.

    Raises:
        ImageError: It is empty, or what `decode_image` refuses.
    """
    if not data:
        raise ImageError("the photograph is empty")
    try:
        image = decode_image(io.BytesIO(data)).image
    except ImageError as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            reason = f"has more than {MAX_MEGAPIXELS} megapixels, the most that this page takes"
            raise ImageError(f"the photograph {reason}") from error
        raise ImageError(f"the photograph {error}") from error
    # Square before it is resized: of an image of a single row, the other side would be immense.
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).convert("RGB")


def prepared(photograph: Image.Image, wanted: Wanted) -> Tensor:
    """Return a photograph as a classifier sees it, (1, 3, H, W) float in [0, 1]."""
    pixels = ReadImage(wanted.fit(photograph)).pixels(3)
    return torch.from_numpy(pixels).float() / 255
