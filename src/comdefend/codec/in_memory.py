"""Compressing and decompressing images in memory."""

import warnings
from pathlib import Path

import torch
from PIL import Image

from comdefend.codec.codec import open_codec
from comdefend.codec.few import FEW_PIXELS
from comdefend.codec.reading import (
    codec_for,
    open_image,
    pixel_limit,
    rebuild_image,
    truncated_note,
)
from comdefend.codec.writing import compress_image
from comdefend.common.defaults import RECOMMENDED
from comdefend.data.image_files import upright


class TruncatedWarning(UserWarning):
    """A file ends early, and was decoded at the highest rate that is whole."""


def compress(
    image: Image.Image,
    weights: str | Path = RECOMMENDED,
    *,
    bpp: float | None = None,
    engine: str = "auto",
    device: torch.device | str = "cpu",
) -> bytes:
    """Compress an image.

    Args:
        image: The image. Its EXIF orientation is applied; alpha channel and ICC profile go along,
            other metadata does not.
        weights: The name of shipped weights, or the path of a weight file.
        bpp: Bits of code per pixel, for weights that work at several rates; replaces the rate in
            the name of the weights. By default that rate, or the highest.
        engine: What computes, as for `open_engine`.
        device: Where it computes.

    Returns:
        A file that `decompress` and ``comdefend decompress`` read.

    Raises:
        InputError: Unknown weights or engine, or a rate that the weights do not have.
        DataMissingError: The path of the weights does not exist.
        WeightsError: The weights are corrupt.
        ExtraMissingError: The extra ``codec``, or the engine, is not installed.
        ImageError: An image of a kind that is not handled, or too little memory.
    """
    codec = open_codec(weights, bpp, _quick(engine, image.width * image.height), device)
    return compress_image(upright(image), codec)[0]


def decompress(
    data: bytes,
    weights: str | Path | None = None,
    *,
    bpp: float | None = None,
    engine: str = "auto",
    device: torch.device | str = "cpu",
    max_megapixels: float | None = None,
) -> Image.Image:
    """Rebuild an image from its compressed form; damaged and hostile bytes are an `ImageError`.

    Args:
        data: What `compress` returned, or the first part of it: a warning then says at what rate
            the image is rebuilt.
        weights: Where the file was made with weights that do not ship: the path of these. A file
            never names a path.
        bpp: Bits of code per pixel, one of the file's; by default all of them.
        engine: What computes, as for `open_engine`.
        device: Where it computes.
        max_megapixels: Larger images are refused before any memory is taken for them; by default
            179, or twice what `PIL.Image.MAX_IMAGE_PIXELS` says.

    Returns:
        The image, upright, with its alpha channel, and its ICC profile as ``info["icc_profile"]``.

    Raises:
        ImageError: The data is damaged, too large, or truncated within its lowest rate.
        InputError: The data was made with other weights, or does not have that rate.
        DataMissingError, WeightsError, ExtraMissingError: As for `compress`.
    """
    opened = open_image(data, pixel_limit(max_megapixels), bpp)
    quick = _quick(engine, opened.container.header.pixels)
    codec = codec_for(opened, weights, quick, device)
    for note in truncated_note(opened):
        warnings.warn(note, TruncatedWarning, stacklevel=2)
    read = rebuild_image(opened, codec)
    read.image.info.update(read.metadata)
    return read.image


def _quick(engine: str, pixels: int) -> str:
    """Return the engine for so many pixels: torch, which opens at once, for few."""
    return "torch" if engine == "auto" and pixels <= FEW_PIXELS else engine
