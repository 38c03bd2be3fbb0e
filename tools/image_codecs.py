"""Codecs for images as several tools compare them: this package's, and other formats.

JPEG, WebP and AVIF come with Pillow. JPEG XL needs pillow-jxl-plugin, and mozjpeg pyvips with
pyvips-binary, which is built with it; without these they are left out.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import numpy as np
from PIL import Image

from comdefend.codec import compress, decompress

REFERENCE = "JPEG"
"""What others are compared with."""


@dataclass(frozen=True)
class ImageCodec:
    """A codec at one setting.

    Attributes:
        name: Weights, or a format.
        setting: Bits of code per pixel of weights, quality of a format.
        encode: Returns an RGB image as a whole file, headers included.
        decode: Returns the RGB image that a file holds.
    """

    name: str
    setting: float
    encode: Callable[[Image.Image], bytes]
    decode: Callable[[bytes], Image.Image]


def own_codecs(weights: Mapping[str, Sequence[float]]) -> list[ImageCodec]:
    """Return this package's codec with weights, at rates in bits per pixel."""
    return [
        ImageCodec(
            name,
            bpp,
            partial(compress, weights=name, bpp=bpp, engine="torch"),
            partial(decompress, engine="torch"),
        )
        for name, bpps in weights.items()
        for bpp in bpps
    ]


def format_codecs(qualities: Mapping[str, Sequence[int]]) -> list[ImageCodec]:
    """Return the formats among `FORMATS` that are installed, at qualities."""
    return [
        ImageCodec(name, quality, partial(FORMATS[name], quality=quality), _opened)
        for name, settings in qualities.items()
        if find_spec(_PACKAGES.get(name, "PIL"))
        for quality in settings
    ]


def versions() -> tuple[str, ...]:
    """Return the packages whose versions a record should name."""
    return ("pillow", "pillow-jxl-plugin", "pyvips-binary")


def _saved(image: Image.Image, quality: int, name: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, name, quality=quality, **options)
    return file.getvalue()


def _jpeg_xl(image: Image.Image, quality: int) -> bytes:
    import pillow_jxl  # noqa: F401, which tells Pillow of the format

    return _saved(image, quality, "JXL", effort=7)


def _mozjpeg(image: Image.Image, quality: int) -> bytes:
    """Return a JPEG file with all that mozjpeg's own program turns on by default."""
    import pyvips

    data = pyvips.Image.new_from_array(np.asarray(image)).jpegsave_buffer(
        Q=quality,
        optimize_coding=True,
        interlace=True,
        trellis_quant=True,
        overshoot_deringing=True,
        optimize_scans=True,
        quant_table=3,
    )
    return bytes(data)


def _opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


# As much as each spends on small files in reasonable time.
FORMATS: dict[str, Callable[..., bytes]] = {
    "JPEG": partial(_saved, name="JPEG", optimize=True),
    "mozjpeg": _mozjpeg,
    "WebP": partial(_saved, name="WebP", method=6),
    "AVIF": partial(_saved, name="AVIF", speed=6),
    "JPEG XL": _jpeg_xl,
}
"""Name -> function of an image and a quality that returns a file."""

_PACKAGES = {"mozjpeg": "pyvips", "JPEG XL": "pillow_jxl"}
