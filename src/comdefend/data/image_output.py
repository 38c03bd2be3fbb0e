"""Writing image files: the pixels for certain, the metadata as far as the format holds it."""

import io
import threading
import zlib
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image, ImageChops

from comdefend.common.places import Place, whole_file
from comdefend.data.image import ReadImage
from comdefend.data.image_files import LOSSY, NEEDS_MEMORY, SUFFIXES
from comdefend.data.image_metadata import orientation, save_options, writable
from comdefend.errors import ImageError, out_of_memory

# Pixels that are compared at once.
_PART = 1 << 18
# Mean error of a pixel that JPEG at quality 95 stays below, even on noise.
_LOSS = 8
# An image is in memory twice while it is compared: only one at a time.
_COMPARING = threading.Lock()


def write_image(
    path: Place, read: ReadImage, stopped: threading.Event | None = None
) -> tuple[str, ...]:
    """Write an image in the format of its suffix, atomically, with its metadata.

    PNG, WebP, TIFF and BMP hold the pixels exactly; JPEG is written at quality 95 without chroma
    subsampling. The file is opened again and compared with the image before it takes its name.

    Args:
        path: The file, here or at an address.
        read: The image.
        stopped: Writing gives up once another thread sets it.

    Returns:
        Notes on metadata that is left behind: the format does not hold it, or it is damaged.

    Raises:
        ImageError: The format cannot hold the image's alpha channel, or its size; too little
            memory; or ``stopped``.
        OutputError: The file cannot be written.
    """
    name = SUFFIXES[path.suffix.lower()]
    check_alpha(read, name)
    with whole_file(path) as file:
        return _write(file, read, name, stopped)


def encode_image(read: ReadImage, name: str) -> tuple[bytes, tuple[str, ...]]:
    """Return an image as the bytes of a file, and notes: see `write_image`.

    They are compared with the image if there is metadata, which is what could cost the pixels.
    PNG is compressed for speed: a third of the time, and for purified photographs no more bytes.

    Args:
        read: The image.
        name: One of `FORMATS`.

    Raises:
        ImageError: As for `write_image`.
    """
    check_alpha(read, name)
    file = io.BytesIO()
    notes = _write(file, read, name, None, quick=True)
    return file.getvalue(), notes


def check_alpha(read: ReadImage, name: str) -> None:
    """Raise ImageError for an image with an alpha channel, if the format does not hold one."""
    if read.alpha is not None and name in ("jpeg", "bmp"):
        raise ImageError(f"has an alpha channel, which {name} does not hold; write png")


def _write(
    file: BinaryIO,
    read: ReadImage,
    name: str,
    stopped: threading.Event | None,
    quick: bool = False,
) -> tuple[str, ...]:
    """Write an image, without its metadata if need be; ``quick`` as `encode_image` has it."""
    options, notes = writable(name, read.image.mode, read.metadata)
    more = {"compress_type": zlib.Z_RLE} if quick and name == "png" else {}
    compare = bool(read.metadata) or not quick
    try:
        _save(file, read.image, name, {**options, **more}, stopped, compare)
    except ImageError:
        if not read.metadata or (stopped is not None and stopped.is_set()):
            raise
        _save(file, read.image, name, {**save_options(name, {}), **more}, stopped, compare)
        notes = ["all metadata left behind: cannot be written"]
    return tuple(notes)


def _save(
    file: BinaryIO,
    image: Image.Image,
    name: str,
    options: dict[str, Any],
    stopped: threading.Event | None,
    compare: bool,
) -> None:
    """Write an image to an open file, and compare if that is wanted.

    Raises:
        ImageError: It cannot be written, or does not come back.
    """
    file.seek(0)
    file.truncate()
    try:
        # Without a file number, by which encoders would bypass the sink.
        image.save(cast(BinaryIO, _Sink(file, stopped)), format=name, **options)
        file.flush()
        file.seek(0)
        if not compare:
            return
        with _COMPARING, Image.open(file, formats=[name]) as opened:
            same = _same(image, opened, _LOSS if name in LOSSY else 0)
    except ImageError:
        raise
    # Encoders raise anything as well, for example on sizes that their format cannot hold.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if out_of_memory(error):
            raise ImageError(NEEDS_MEMORY) from error
        raise ImageError(f"cannot be written as {name} ({error})") from error
    if not same:
        raise ImageError(f"cannot be written as {name} (other pixels come back)")


def _same(image: Image.Image, opened: Image.Image, loss: int) -> bool:
    """Return whether a file holds the pixels of an image, with at most the mean error ``loss``."""
    if opened.size != image.size:
        return False
    opened.load()
    if orientation(opened) != 1:
        return False
    error, rows = 0, max(_PART // image.width, 1)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        written, kept = (i.crop(box).convert("RGBA") for i in (opened, image))
        error += int(np.asarray(ImageChops.difference(written, kept)).sum(dtype=np.int64))
    return error <= loss * 3 * image.width * image.height


class _Sink:
    """A file that refuses to be written once it is stopped."""

    def __init__(self, file: BinaryIO, stopped: threading.Event | None) -> None:
        self._file = file
        self._stopped = stopped
        self.seek, self.tell, self.flush = file.seek, file.tell, file.flush

    def write(self, data: bytes) -> int:
        if self._stopped is not None and self._stopped.is_set():
            raise ImageError("stopped")
        return self._file.write(data)
