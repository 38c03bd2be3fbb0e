"""Image files to pixels and back: orientation, alpha, metadata, formats."""

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
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from comdefend.common.atomic import atomic_file
from comdefend.errors import ImageError

FORMATS = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg"),
    "webp": (".webp",),
    "tiff": (".tif", ".tiff"),
    "bmp": (".bmp",),
}
"""Formats read and written, with their suffixes, the usual one first."""

LOSSY = frozenset({"jpeg"})
"""Formats that change the pixels once more when written. WebP is written without loss."""

SUFFIXES = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}
"""Format of each suffix."""

_MODES = ("RGB", "RGBA", "L", "LA")
_ORIENTATION = ExifTags.Base.Orientation
_DESCRIPTIVE = {
    ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model,
    ExifTags.Base.Software, ExifTags.Base.DateTime, ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
}  # fmt: skip
_SEGMENTS = ("exif", "xmp", "comment")
_PNG_XMP = "XML:com.adobe.xmp"
_TIFF_XMP = 700
_READERS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
_METADATA = ("icc_profile", "dpi", "comment")


@dataclass(frozen=True)
class ReadImage:
    """An image as read: upright, of mode RGB, RGBA, L or LA.

    Attributes:
        image: The pixels.
        metadata: EXIF without the orientation, ICC profile, resolution, XMP, comment and PNG
            texts, as far as the file held them.
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
            raise ImageError("is a colour image, these weights take grey ones")

    def with_pixels(self, pixels: Tensor) -> "ReadImage":
        """Return the image with other colours, (1, C, H, W) uint8; mode and alpha stay."""
        array = pixels.squeeze(0).permute(1, 2, 0).contiguous().numpy()
        image = Image.fromarray(array if array.shape[2] == 3 else array[..., 0])
        image = image.convert("L" if self.image.mode in ("L", "LA") else "RGB")
        if self.alpha is not None:
            image.putalpha(self.alpha)
        return ReadImage(image, self.metadata)


class ImageCanvas:
    """The colours of a read image, to be replaced part by part, in place.

    Args:
        read: The image; mode and alpha stay.
        channels: Of what is read and written, as for `ReadImage.pixels`.

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

    Args:
        folder: Where to search.
        on_error: Told of folders that cannot be read; by default they are passed over.
    """
    found = []
    for parent, folders, names in os.walk(folder, onerror=on_error):
        folders.sort()
        found += [Path(parent, n) for n in sorted(names) if Path(n).suffix.lower() in SUFFIXES]
    return found


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keep Pillow's warnings to itself: what it refuses, we report; the rest is good enough.

    Warnings' filters belong to the whole process: who reads images in threads enters this around
    them, since threads that changed the filters would undo each other's changes.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def pixel_count(path: Path) -> int:
    """Return how many pixels an image file says it has, without decoding it; 0 if it is none."""
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

    The pixels are in memory once, 4 bytes each in colour, unless they must be turned.

    Raises:
        ImageError: Not an image, truncated, too large to be meant well, animated, 16 bits a
            channel, or in colours that comdefend does not handle. The message does not repeat the
            path.
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
    """Read an image from an open file; the rest is as for `read_image`."""
    try:
        with (
            quiet_decoders() if _is_main_thread() else nullcontext(),
            Image.open(file, formats=_READERS) as opened,
        ):
            _refuse_unhandled(opened)
            opened.load()
            # In place, and what follows copies nothing either: an image may be most of memory.
            ImageOps.exif_transpose(opened, in_place=True)
            return ReadImage(_reduced(opened), _metadata(opened))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise ImageError(f"is not an image of a handled format ({known})") from error
    except Image.DecompressionBombError as error:
        raise ImageError("has too many pixels, and may be a decompression bomb") from error
    # Decoders of damaged files raise whatever their arithmetic runs into: struct.error, KeyError,
    # zlib.error. One such file must not end the work on the others.
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"cannot be read ({' '.join(reason.split())})") from error


def write_image(path: Path, read: ReadImage, stopped: threading.Event | None = None) -> None:
    """Write an image in the format of its suffix, atomically, with its metadata.

    PNG, WebP, TIFF and BMP hold the pixels exactly; JPEG is written at quality 95 without chroma
    subsampling.

    Args:
        path: The file.
        read: The image.
        stopped: Once set, by another thread, writing gives up.

    Raises:
        ImageError: The format cannot hold the image's alpha channel, or its size; or ``stopped``.
        OutputError: The file cannot be written.
    """
    name = SUFFIXES[path.suffix.lower()]
    if read.alpha is not None and name in ("jpeg", "bmp"):
        raise ImageError(f"has an alpha channel, which {name} does not hold; write png")
    options = _save_options(name, read.metadata)
    with atomic_file(path) as file:
        try:
            # Only the methods that encoders need: with a file number they would write past us.
            read.image.save(cast(BinaryIO, _Sink(file, stopped)), format=name, **options)
        # Encoders raise as decoders do, over metadata that their format cannot hold for example.
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ImageError(f"cannot be written as {name} ({error})") from error


class _Sink:
    """A file that takes no more once it is stopped."""

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
    # Cameras put a preview behind the photo of an MPO file; the first frame is the photo.
    if frames > 1 and image.format != "MPO":
        raise ImageError(f"has {frames} frames; only single images are handled")
    # Pillow cuts 16-bit colours down to 8 bits without a word; its decoder's raw mode tells.
    if image.mode.startswith(("I", "F")) or any(
        ";16" in str(tile) for tile in getattr(image, "tile", [])
    ):
        raise ImageError("has 16 bits a channel or more; convert it to 8 bits first")
    if image.mode not in (*_MODES, "1", "P", "PA", "RGBX", "RGBa", "La"):
        raise ImageError(f"has colours of mode {image.mode}; convert it to RGB first")


def _reduced(image: Image.Image) -> Image.Image:
    if image.mode in _MODES and "transparency" not in image.info:
        # The same pixels without the file's own class, whose writer adds what its reader found.
        return image._new(image.im)
    if image.mode in ("PA", "RGBa") or "transparency" in image.info:
        return image.convert("LA" if image.mode in ("L", "1") else "RGBA")
    if image.mode == "La":
        return image.convert("LA")
    return image.convert("L" if image.mode == "1" else "RGB")


def _metadata(image: Image.Image) -> dict[str, Any]:
    """Collect what the file said beside its pixels, as it is true of the upright image."""
    # Turning an image upright also corrects what its EXIF and XMP say of its orientation.
    info = image.info
    metadata = {name: info[name] for name in _METADATA if info.get(name)}
    texts = {k: info.get(k, v) for k, v in getattr(image, "text", {}).items()}
    xmp = texts.pop(_PNG_XMP, None) or info.get("xmp")
    if xmp:
        metadata["xmp"] = xmp.encode() if isinstance(xmp, str) else bytes(xmp)
    if texts:
        metadata["texts"] = {key: str(text) for key, text in texts.items()}
    if exif := _exif(image, image.format == "TIFF"):
        metadata["exif"] = exif
    return metadata


def _exif(image: Image.Image, tiff: bool) -> bytes:
    """Return the EXIF block without what the pixels already show or the writer sets itself."""
    found = image.getexif()
    kept = Image.Exif()
    for tag, value in found.items():
        # A TIFF's own directory, where its strips lie for example, looks like EXIF to Pillow.
        if tag != _ORIENTATION and (not tiff or tag in _DESCRIPTIVE):
            kept[tag] = value
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if entries := found.get_ifd(directory):
            kept[directory] = dict(entries)
    return kept.tobytes() if kept else b""


def _save_options(name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    held = {
        "png": ("exif", "icc_profile", "dpi"),
        "jpeg": ("exif", "icc_profile", "dpi", "xmp", "comment"),
        "webp": ("exif", "icc_profile", "xmp"),
        "tiff": ("exif", "icc_profile", "dpi"),
        "bmp": ("dpi",),
    }[name]
    options = {key: metadata[key] for key in held if key in metadata}
    if name == "png":
        info = PngImagePlugin.PngInfo()
        for key, text in metadata.get("texts", {}).items():
            info.add_itxt(key, text)
        if "xmp" in metadata:
            info.add_itxt(_PNG_XMP, metadata["xmp"].decode("utf-8", "replace"))
        if "comment" in metadata:
            info.add_itxt("Comment", metadata["comment"].decode("utf-8", "replace"))
        options["pnginfo"] = info
    elif name == "jpeg":
        # A JPEG segment holds 64 KiB; what is larger stays behind, rather than the image.
        options = {k: v for k, v in options.items() if k not in _SEGMENTS or len(v) < 65_000}
        options |= {"quality": 95, "subsampling": 0}
    elif name == "webp":
        options |= {"lossless": True, "exact": True}
    elif name == "tiff":
        options["compression"] = "tiff_adobe_deflate"
        if "xmp" in metadata:
            directory = Image.Exif()
            directory.load(metadata.get("exif", b""))
            directory[_TIFF_XMP] = metadata["xmp"]
            options["exif"] = directory
    return options
