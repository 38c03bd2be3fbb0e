"""An image in memory: its pixels as arrays, whole or part by part, and its metadata."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from comdefend.errors import ImageError

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ReadImage:
    """An image as read: upright, of mode RGB, RGBA, L or LA.

    Attributes:
        image: The pixels.
        metadata: What the file held of EXIF (without the orientation), ICC profile, resolution,
            XMP, comment and PNG texts.
        notes: What of the metadata could not be read, a few words each.
    """

    image: Image.Image
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def alpha(self) -> Image.Image | None:
        """The alpha channel, or None."""
        return self.image.getchannel("A") if self.image.mode in ("RGBA", "LA") else None

    def pixels(self, channels: int) -> Bytes:
        """Return the colours as (1, channels, H, W) uint8; grey counts as equal R, G and B.

        Raises:
            ImageError: A colour image, but ``channels`` is 1.
        """
        self.check(channels)
        array = np.asarray(self.image.convert("L" if channels == 1 else "RGB"))
        array = array.reshape(self.image.height, self.image.width, channels)
        return array.transpose(2, 0, 1)[None].copy()

    def check(self, channels: int) -> None:
        """Raise ImageError for a colour image where ``channels`` is 1."""
        if channels == 1 and self.image.mode in ("RGB", "RGBA"):
            raise ImageError("is a colour image, and these weights take grey ones")

    def shrunk(self, side: int) -> "ReadImage":
        """Return the image with a shorter side of at most ``side`` pixels, bilinear, antialiased.

        A smaller image stays as it is.
        """
        if min(self.image.size) <= side:
            return self
        size = resized_size(*self.image.size, side)
        return ReadImage(
            self.image.resize(size, Image.Resampling.BILINEAR), self.metadata, self.notes
        )

    def with_pixels(self, pixels: Bytes) -> "ReadImage":
        """Return the image with other colours, (1, C, H, W) uint8; mode and alpha stay."""
        array = np.ascontiguousarray(pixels[0].transpose(1, 2, 0))
        image = Image.fromarray(array if array.shape[2] == 3 else array[..., 0])
        image = image.convert("L" if self.image.mode in ("L", "LA") else "RGB")
        if self.alpha is not None:
            image.putalpha(self.alpha)
        return ReadImage(image, self.metadata, self.notes)


def resized_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Return width and height of an image resized to a shorter side of ``side`` pixels.

    Rounded down, as torchvision's ``Resize`` does.
    """
    short = min(width, height)
    return max(1, side * width // short), max(1, side * height // short)


class ImageCanvas:
    """An image, of which the colours are replaced part by part, in place.

    Args:
        read: The image; mode and alpha stay.
        channels: Channels of the parts, as for `ReadImage.pixels`.

    Raises:
        ImageError: A colour image, but ``channels`` is 1.
    """

    def __init__(self, read: ReadImage, channels: int) -> None:
        read.check(channels)
        self.image = read
        self.size = (read.image.height, read.image.width)
        self._channels = channels

    def read(self, rows: slice, columns: slice) -> Bytes:
        """Return a copy of a part, (1, C, h, w) uint8."""
        return self._part(rows, columns).pixels(self._channels)

    def write(self, rows: slice, columns: slice, pixels: Bytes) -> None:
        """Replace a part by (1, C, h, w) uint8."""
        part = self._part(rows, columns).with_pixels(pixels)
        self.image.image.paste(part.image, (columns.start, rows.start))

    def _part(self, rows: slice, columns: slice) -> ReadImage:
        box = (columns.start, rows.start, columns.stop, rows.stop)
        return ReadImage(self.image.image.crop(box))
