"""Image files to pixels and back: orientation, alpha, metadata, formats."""

import io
import os
import stat
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from comdefend.atomic import atomic_write
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
_METADATA = ("icc_profile", "dpi", "xmp", "comment")


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
        if channels == 1 and self.image.mode in ("RGB", "RGBA"):
            raise ImageError("is a colour image, these weights take grey ones")
        array = np.asarray(self.image.convert("L" if channels == 1 else "RGB"))
        array = array.reshape(self.image.height, self.image.width, channels)
        return torch.from_numpy(array.copy()).permute(2, 0, 1).unsqueeze(0)

    def with_pixels(self, pixels: Tensor) -> "ReadImage":
        """Return the image with other colours, (1, C, H, W) uint8; mode and alpha stay."""
        array = pixels.squeeze(0).permute(1, 2, 0).contiguous().numpy()
        image = Image.fromarray(array if array.shape[2] == 3 else array[..., 0])
        image = image.convert("L" if self.image.mode in ("L", "LA") else "RGB")
        if self.alpha is not None:
            image.putalpha(self.alpha)
        return ReadImage(image, self.metadata)


def image_paths(folder: Path) -> list[Path]:
    """Return the image files below a folder, sorted; links to folders are not followed."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        found += [Path(parent, n) for n in sorted(names) if Path(n).suffix.lower() in SUFFIXES]
    return found


def read_image(path: Path) -> ReadImage:
    """Read an image file, turn it upright and reduce its mode to RGB, RGBA, L or LA.

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
        with warnings.catch_warnings():
            # What Pillow can read with a warning is good enough; what it refuses, we report.
            warnings.simplefilter("ignore")
            with Image.open(path) as opened:
                if opened.format is None or opened.format.lower() not in {*FORMATS, "mpo"}:
                    raise ImageError(f"is a {opened.format}; handled are {', '.join(FORMATS)}")
                _refuse_unhandled(opened)
                opened.load()
                metadata = _metadata(opened)
                image = _reduced(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError as error:
        raise ImageError("is not an image") from error
    except Image.DecompressionBombError as error:
        raise ImageError("has too many pixels, and may be a decompression bomb") from error
    except ImageError:
        raise
    # Decoders of damaged files raise whatever their arithmetic runs into: struct.error, KeyError,
    # zlib.error. One such file must not end the work on the others.
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"cannot be read ({reason})") from error
    return ReadImage(image, metadata)


def write_image(path: Path, read: ReadImage) -> None:
    """Write an image in the format of its suffix, atomically, with its metadata.

    PNG, WebP, TIFF and BMP hold the pixels exactly; JPEG is written at quality 95 without chroma
    subsampling.

    Raises:
        ImageError: The format cannot hold the image's alpha channel, or its size.
        OutputError: The file cannot be written.
    """
    name = SUFFIXES[path.suffix.lower()]
    if read.alpha is not None and name in ("jpeg", "bmp"):
        raise ImageError(f"has an alpha channel, which {name} does not hold; write png")
    buffer = io.BytesIO()
    try:
        read.image.save(buffer, format=name, **_save_options(name, read.metadata))
    except (OSError, ValueError, OverflowError) as error:
        raise ImageError(f"cannot be written as {name} ({error})") from error
    atomic_write(path, buffer.getvalue())


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
        return image.copy()
    if image.mode in ("PA", "RGBa") or "transparency" in image.info:
        return image.convert("LA" if image.mode in ("L", "1") else "RGBA")
    if image.mode == "La":
        return image.convert("LA")
    return image.convert("L" if image.mode == "1" else "RGB")


def _metadata(image: Image.Image) -> dict[str, Any]:
    metadata = {name: image.info[name] for name in _METADATA if image.info.get(name)}
    texts = {k: v for k, v in getattr(image, "text", {}).items() if isinstance(v, str)}
    if texts:
        metadata["texts"] = texts
    if exif := _exif(image):
        metadata["exif"] = exif
    return metadata


def _exif(image: Image.Image) -> bytes:
    """Return the EXIF block without what the pixels already show or the writer sets itself."""
    found = image.getexif()
    kept = Image.Exif()
    for tag, value in found.items():
        # A TIFF's own directory, where its strips lie for example, looks like EXIF to Pillow.
        if tag != _ORIENTATION and (image.format != "TIFF" or tag in _DESCRIPTIVE):
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
        options["pnginfo"] = info
    elif name == "jpeg":
        options |= {"quality": 95, "subsampling": 0}
    elif name == "webp":
        options |= {"lossless": True, "exact": True}
    elif name == "tiff":
        options["compression"] = "tiff_adobe_deflate"
    return options
