"""Image files to pixels: formats, orientation, alpha."""

import functools
import importlib.util
import io
import os
import stat
import threading
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError, features

from comdefend.data.image import ReadImage
from comdefend.data.image_metadata import orientation, read_metadata
from comdefend.data.image_repair import without_damaged_metadata
from comdefend.errors import ImageError, out_of_memory

FORMATS = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "webp": (".webp",),
    "tiff": (".tif", ".tiff"),
    "bmp": (".bmp",),
}
"""Format -> its suffixes, the usual one first. All are read and written."""

LOSSY = frozenset({"jpeg"})
"""Formats that change the pixels when written. WebP is written without loss."""

SUFFIXES = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}
"""Format of each suffix that is read and written."""

NEEDS_MEMORY = "needs more memory than there is"

_MODES = ("RGB", "RGBA", "L", "LA")
# Read but not written, as far as Pillow and its plug-ins do: suffix -> Pillow's name.
_READ_ONLY = {".gif": "GIF", ".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF", ".jxl": "JXL"}
PLUGINS = frozenset({".heic", ".heif", ".jxl"})
"""Suffixes that are read where the extra ``formats`` is installed."""

# Encoders that try hard make some twenty.
_MOST_SCANS = 100

# Of several frames, the first is the photo; cameras put previews and bursts behind it.
_FIRST_IS_PHOTO = ("MPO", "HEIF")
# Upright from each EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@functools.cache
def readable_suffixes() -> frozenset[str]:
    """Return the suffixes of the files that are read here; HEIC and JPEG XL need a plug-in."""
    return frozenset({*SUFFIXES, *(s for s, name in _READ_ONLY.items() if name in _readers())})


@functools.cache
def _readers() -> tuple[str, ...]:
    names = [name.upper() for name in FORMATS] + ["GIF"]
    if features.check("avif"):
        names.append("AVIF")
    if importlib.util.find_spec("pillow_heif"):
        importlib.import_module("pillow_heif").register_heif_opener()
        names.append("HEIF")
    if importlib.util.find_spec("pillow_jxl"):
        importlib.import_module("pillow_jxl")
        names.append("JXL")
    return tuple(names)


def image_paths(
    folder: Path,
    on_error: Callable[[OSError], None] | None = None,
    on_skip: Callable[[Path], None] | None = None,
    suffixes: Collection[str] | None = None,
) -> list[Path]:
    """Return the image files below a folder, sorted; hidden files and folders are ignored.

    Files and folders that begin with a dot are none: thumbnails, checkpoints, resource forks.

    Args:
        folder: Where to search.
        on_error: Called for each folder that cannot be read; by default they are skipped.
        on_skip: Called for each other file, and for each link to a folder, which is not followed.
        suffixes: Suffixes of image files; by default those of `readable_suffixes`.
    """
    suffixes = readable_suffixes() if suffixes is None else suffixes
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=on_error):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        others = [link for name in folders if (link := Path(parent, name)).is_symlink()]
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(parent, name)
            (found if path.suffix.lower() in suffixes else others).append(path)
        if on_skip is not None:
            for path in others:
                on_skip(path)
    return found


@contextmanager
def quiet_decoders(max_pixels: float | None = None) -> Iterator[None]:
    """Silence Pillow's warnings: files that it refuses are reported, the others are good enough.

    Filters of warnings and the limit belong to the whole process. To read images in threads, enter
    this once around all of them; threads that changed them would undo each other's changes.

    Args:
        max_pixels: Images with more are refused; by default twice `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            if max_pixels is not None:
                # Pillow refuses twice this number.
                Image.MAX_IMAGE_PIXELS = max_pixels / 2  # type: ignore[assignment]
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def pixel_count(file: Path | BinaryIO) -> int:
    """Return the number of pixels in an image file's header; 0 if it is not an image."""
    # Whatever is wrong with the file, reading it will say so.
    try:
        if not isinstance(file, Path):
            file.seek(0)
        elif not stat.S_ISREG(file.stat().st_mode):
            return 0
        with Image.open(file, formats=_readers()) as opened:
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
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError("is not a regular file")
        with path.open("rb") as file:
            return decode_image(file)
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror or error})") from error


def decode_image(file: BinaryIO) -> ReadImage:
    """Read an image from an open file, from its start: see `read_image`."""
    if file.seek(0, os.SEEK_END) == 0:
        raise ImageError("is empty")
    file.seek(0)
    with quiet_decoders() if _is_main_thread() else nullcontext():
        try:
            return _decoded(file)
        except ImageError as error:
            first = error
        # Perhaps only the metadata is damaged, or too large.
        file.seek(0)
        for data in without_damaged_metadata(file.read()) if first.__cause__ else ():
            try:
                read = _decoded(io.BytesIO(data))
            except ImageError:
                continue
            note = "parts of the metadata left behind: cannot be read"
            return ReadImage(read.image, read.metadata, (note, *read.notes))
        raise first


def _decoded(file: BinaryIO) -> ReadImage:
    """Read an image; an error has a cause where a decoder raised it."""
    with _decoder_errors(), Image.open(file, formats=_readers()) as opened:
        if opened.format in ("JPEG", "MPO"):
            _refuse_scans(file)
        return _upright(opened)


def upright(image: Image.Image) -> ReadImage:
    """Turn an image in memory upright and reduce its mode: see `read_image`; it is not changed."""
    with _decoder_errors():
        return _upright(image)


def _upright(opened: Image.Image) -> ReadImage:
    _refuse_unhandled(opened)
    opened.load()
    metadata, notes = read_metadata(opened)
    # Nothing below copies the pixels unless they must be turned: one image may fill most of
    # the memory.
    turn = _TURNS.get(orientation(opened))
    image = _reduced(opened)
    # Writers would take from it what they are not given.
    image.info.clear()
    turned = image if turn is None else image.transpose(turn)
    return ReadImage(turned, metadata, tuple(notes))


@contextmanager
def _decoder_errors() -> Iterator[None]:
    """Turn whatever a decoder raises into one line."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(name.lower() for name in _readers())
        raise ImageError(f"is not an image of a handled format ({known})") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise ImageError(
            f"has more than {limit:.4g} megapixels, and may be a decompression bomb; if it is not, "
            "raise the limit (--max-megapixels)"
        ) from error
    # On damaged files decoders raise anything: struct.error, KeyError, zlib.error. One such file
    # must not end the work on the others.
    except Exception as error:
        if out_of_memory(error):
            raise ImageError(NEEDS_MEMORY) from error
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"cannot be read ({' '.join(reason.split())})") from error


def read_named(path: Path) -> ReadImage:
    """Read an image file: see `read_image`. Errors name its path."""
    try:
        return read_image(path)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _refuse_scans(file: BinaryIO) -> None:
    """Refuse a JPEG whose many empty scans would each go over the whole image: minutes of work."""
    place = file.tell()
    file.seek(0)
    # Within coded pixels no 0xFF stands before anything but 0 or a restart.
    scans = file.read().count(b"\xff\xda")
    file.seek(place)
    if scans > _MOST_SCANS:
        raise ImageError(
            f"is a JPEG of {scans} scans, more than {_MOST_SCANS}: it may be an attack"
        )


def _refuse_unhandled(image: Image.Image) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in _FIRST_IS_PHOTO:
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
