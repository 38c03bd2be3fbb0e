"""Image files to pixels and back: formats, orientation, alpha."""

import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from comdefend.common.atomic import atomic_file
from comdefend.data.image_metadata import read_metadata, save_options
from comdefend.errors import ImageError

FORMATS = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg"),
    "webp": (".webp",),
    "tiff": (".tif", ".tiff"),
    "bmp": (".bmp",),
}
"""Format -> its suffixes, the usual one first. All are read and written."""

LOSSY = frozenset({"jpeg"})
"""Formats that change the pixels when written. WebP is written without loss."""

SUFFIXES = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}
"""Format of each suffix."""

_MODES = ("RGB", "RGBA", "L", "LA")
_READERS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")


@dataclass(frozen=True)
class ReadImage:
    """An image as read: upright, of mode RGB, RGBA, L or LA.

    Attributes:
        image: The pixels.
        metadata: What the file held of EXIF (without the orientation), ICC profile, resolution,
            XMP, comment and PNG texts.
    """

    image: Image.Image
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def alpha(self) -> Image.Image | None:
        """The alpha channel, or None."""
        return self.image.getchannel("A") if self.image.mode in ("RGBA", "LA") else None

    def pixels(self, channels: int) -> Tensor:
        """Return the colours as (1, channels, H, W) uint8; grey counts as equal R, G and B.

        Raises:
            ImageError: A colour image, but ``channels`` is 1.
        """
        self.check(channels)
        array = np.asarray(self.image.convert("L" if channels == 1 else "RGB"))
        array = array.reshape(self.image.height, self.image.width, channels)
        return torch.from_numpy(array.copy()).permute(2, 0, 1).unsqueeze(0)

    def check(self, channels: int) -> None:
        """Raise ImageError for a colour image where ``channels`` is 1."""
        if channels == 1 and self.image.mode in ("RGB", "RGBA"):
            raise ImageError("is a colour image, and these weights take grey ones")

    def with_pixels(self, pixels: Tensor) -> "ReadImage":
        """Return the image with other colours, (1, C, H, W) uint8; mode and alpha stay."""
        array = pixels.squeeze(0).permute(1, 2, 0).contiguous().numpy()
        image = Image.fromarray(array if array.shape[2] == 3 else array[..., 0])
        image = image.convert("L" if self.image.mode in ("L", "LA") else "RGB")
        if self.alpha is not None:
            image.putalpha(self.alpha)
        return ReadImage(image, self.metadata)


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

    def read(self, rows: slice, columns: slice) -> Tensor:
        """Return a copy of a part, (1, C, h, w) uint8."""
        return self._part(rows, columns).pixels(self._channels)

    def write(self, rows: slice, columns: slice, pixels: Tensor) -> None:
        """Replace a part by (1, C, h, w) uint8."""
        part = self._part(rows, columns).with_pixels(pixels)
        self.image.image.paste(part.image, (columns.start, rows.start))

    def _part(self, rows: slice, columns: slice) -> ReadImage:
        box = (columns.start, rows.start, columns.stop, rows.stop)
        return ReadImage(self.image.image.crop(box))


def image_paths(folder: Path, on_error: Callable[[OSError], None] | None = None) -> list[Path]:
    """Return the image files below a folder, sorted; links to folders are not followed.

    Files and folders that begin with a dot are none: thumbnails, checkpoints, resource forks.

    Args:
        folder: Where to search.
        on_error: Called for each folder that cannot be read; by default they are skipped.
    """
    found = []
    for parent, folders, names in os.walk(folder, onerror=on_error):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = sorted(name for name in names if not name.startswith("."))
        found += [Path(parent, n) for n in shown if Path(n).suffix.lower() in SUFFIXES]
    return found


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Silence Pillow's warnings: files that it refuses are reported, the others are good enough.

    The filters of warnings belong to the whole process. To read images in threads, enter this once
    around all of them; threads that changed the filters would undo each other's changes.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def pixel_count(path: Path) -> int:
    """Return the number of pixels in an image file's header; 0 if it is not an image."""
    # Whatever is wrong with the file, reading it will say so.
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return 0
        with Image.open(path, formats=_READERS) as opened:
            return opened.width * opened.height
    except Exception:
        return 0


def read_image(path: Path) -> ReadImage:
    """Read an image file, turn it upright and reduce its mode to RGB, RGBA, L or LA.

    The pixels are in memory once, at 4 bytes per colour pixel, unless they must be turned.

    Raises:
        ImageError: Not an image, truncated, so large that it may be an attack, animated, 16 bits
            per channel, or in colours that comdefend does not handle. The message does not repeat
            the path.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("is not a regular file")
        if status.st_size == 0:
            raise ImageError("is empty")
        with path.open("rb") as file:
            return decode_image(file)
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror or error})") from error


def decode_image(file: BinaryIO) -> ReadImage:
    """Read an image from an open file: see `read_image`."""
    try:
        with (
            quiet_decoders() if _is_main_thread() else nullcontext(),
            Image.open(file, formats=_READERS) as opened,
        ):
            _refuse_unhandled(opened)
            opened.load()
            # In place, and nothing below copies either: one image may fill most of the memory.
            ImageOps.exif_transpose(opened, in_place=True)
            return ReadImage(_reduced(opened), read_metadata(opened))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise ImageError(f"is not an image of a handled format ({known})") from error
    except Image.DecompressionBombError as error:
        raise ImageError("has too many pixels, and may be a decompression bomb") from error
    # On damaged files decoders raise anything: struct.error, KeyError, zlib.error. One such file
    # must not end the work on the others.
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"cannot be read ({' '.join(reason.split())})") from error


def read_named(path: Path) -> ReadImage:
    """Read an image file: see `read_image`. Errors name its path."""
    try:
        return read_image(path)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def write_image(path: Path, read: ReadImage, stopped: threading.Event | None = None) -> None:
    """Write an image in the format of its suffix, atomically, with its metadata.

    PNG, WebP, TIFF and BMP hold the pixels exactly; JPEG is written at quality 95 without chroma
    subsampling.

    Args:
        path: The file.
        read: The image.
        stopped: Writing gives up once another thread sets it.

    Raises:
        ImageError: The format cannot hold the image's alpha channel, or its size; or ``stopped``.
        OutputError: The file cannot be written.
    """
    name = SUFFIXES[path.suffix.lower()]
    if read.alpha is not None and name in ("jpeg", "bmp"):
        raise ImageError(f"has an alpha channel, which {name} does not hold; write png")
    options = save_options(name, read.metadata)
    with atomic_file(path) as file:
        try:
            # Without a file number, by which encoders would bypass the sink.
            read.image.save(cast(BinaryIO, _Sink(file, stopped)), format=name, **options)
        # Encoders raise anything as well, for example on metadata that their format cannot hold.
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ImageError(f"cannot be written as {name} ({error})") from error


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


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _refuse_unhandled(image: Image.Image) -> None:
    frames = getattr(image, "n_frames", 1)
    # The first frame of an MPO file is the photo; cameras put a preview behind it.
    if frames > 1 and image.format != "MPO":
        raise ImageError(f"has {frames} frames; only single images are handled")
    # Pillow silently reduces 16-bit colours to 8 bits; the raw mode of its decoder shows it.
    if image.mode.startswith(("I", "F")) or any(
        ";16" in str(tile) for tile in getattr(image, "tile", [])
    ):
        raise ImageError("has 16 bits per channel or more; convert it to 8 bits first")
    if image.mode not in (*_MODES, "1", "P", "PA", "RGBX", "RGBa", "La"):
        raise ImageError(f"has colours of mode {image.mode}; convert it to RGB first")


def _reduced(image: Image.Image) -> Image.Image:
    if image.mode in _MODES and "transparency" not in image.info:
        # The same pixels in a plain image: the writer of the file's own class adds what its reader
        # found.
        return image._new(image.im)
    if image.mode in ("PA", "RGBa") or "transparency" in image.info:
        return image.convert("LA" if image.mode in ("L", "1") else "RGBA")
    if image.mode == "La":
        return image.convert("LA")
    return image.convert("L" if image.mode == "1" else "RGB")
