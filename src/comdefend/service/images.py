"""Bytes of a request to an image, and an image to the bytes of a response."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from PIL import Image

from comdefend.data.image import ImageCanvas, ReadImage
from comdefend.data.image_files import (
    FORMATS,
    NEEDS_MEMORY,
    SUFFIXES,
    decode_image,
    pixel_count,
)
from comdefend.data.image_output import check_alpha, encode_image
from comdefend.errors import ImageError, out_of_memory
from comdefend.service.refusals import RequestError

MEDIA_TYPES = {name: f"image/{name}" for name in FORMATS}
"""Format -> what HTTP calls it."""


def wanted_format(name: str) -> str:
    """Return the format of a name or suffix, such as ``jpg``.

    Raises:
        RequestError: It is none that is written.
    """
    known = SUFFIXES.get("." + name.lower().removeprefix("."))
    if known is None:
        raise RequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"unknown format; known: {', '.join(FORMATS)}"
        )
    return known


def check_pixels(body: bytes, most: float) -> int:
    """Return the number of pixels that the header of an image tells.

    Raises:
        RequestError: There is nothing, or more than ``most`` pixels.
    """
    if not body:
        raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, "the body is empty; send an image")
    pixels = pixel_count(io.BytesIO(body))
    if pixels > most:
        raise _too_many(most)
    return pixels


def decode(body: bytes, most: float) -> ReadImage:
    """Return the image, upright.

    Raises:
        RequestError: It is none, or one that is not handled; the message says why.
    """
    with _refusals(most):
        return decode_image(io.BytesIO(body))


def canvas(read: ReadImage, channels: int, format: str) -> ImageCanvas:
    """Return an image to be purified in place.

    Raises:
        RequestError: The purifier does not take it, or the format does not hold it.
    """
    with _refusals(0):
        check_alpha(read, format)
        return ImageCanvas(read, channels)


def encode(read: ReadImage, format: str) -> tuple[bytes, tuple[str, ...]]:
    """Return an image as a file, and notes on metadata that is left behind.

    Raises:
        RequestError: The format cannot hold it.
    """
    with _refusals(0):
        data, notes = encode_image(read, format)
    return data, (*read.notes, *notes)


def refusal(error: ImageError) -> RequestError:
    """Return how a request is refused whose image cannot be purified or classified."""
    if str(error) == NEEDS_MEMORY:
        return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, f"the body {error}", retry=True)
    return RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"the body {error}")


@contextmanager
def _refusals(most: float) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        # A header may hide its size from `check_pixels`.
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise _too_many(most) from error
        raise refusal(error) from error
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise refusal(ImageError(NEEDS_MEMORY)) from error


def _too_many(most: float) -> RequestError:
    return RequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body has more than {most / 1e6:.4g} megapixels, the most that are taken",
    )
