"""What image files hold besides pixels: EXIF, colour profile, resolution, XMP, texts.

Metadata never costs the pixels: whatever of it is damaged, or does not fit into the format that is
written, is left behind with a note.
"""

import io
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

Metadata = dict[str, Any]
"""Some of ``exif`` (bytes), ``icc_profile`` (bytes), ``dpi`` (two numbers), ``xmp`` (bytes),
``comment`` (bytes) and ``texts`` (key -> text, of a PNG)."""

_TITLES = {
    "exif": "EXIF",
    "icc_profile": "colour profile",
    "dpi": "resolution",
    "xmp": "XMP",
    "comment": "comment",
    "texts": "texts",
}
_UNREADABLE = "{} left behind: cannot be read"
# All else in the main directory may describe how the source stores its pixels, and would be wrong,
# or break the file, in another.
_DESCRIPTIVE = frozenset({
    ExifTags.Base.DocumentName, ExifTags.Base.ImageDescription, ExifTags.Base.Make,
    ExifTags.Base.Model, ExifTags.Base.Software, ExifTags.Base.DateTime, ExifTags.Base.Artist,
    ExifTags.Base.HostComputer, ExifTags.Base.Copyright, ExifTags.Base.Rating,
    ExifTags.Base.RatingPercent, ExifTags.Base.XPTitle, ExifTags.Base.XPComment,
    ExifTags.Base.XPAuthor, ExifTags.Base.XPKeywords, ExifTags.Base.XPSubject,
})  # fmt: skip
# The same in the directory of the camera's settings, and the pointer to a directory that is not
# written.
_STORAGE = frozenset({
    ExifTags.Base.ComponentsConfiguration, ExifTags.Base.CompressedBitsPerPixel,
    ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight, ExifTags.IFD.Interop,
    0xEA1C, 0xEA1D,
})  # fmt: skip
_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_PNG_XMP = "XML:com.adobe.xmp"
# Copies of EXIF, XMP and others, as some programs put them into a PNG.
_PNG_COPIES = "Raw profile type"
_TIFF_XMP = 700
_XMP_ORIENTATION = re.compile(
    rb"""\s?tiff:Orientation\s*=\s*(["'])[0-9]*\1|<tiff:Orientation>[^<]*</tiff:Orientation>"""
)
# A directory of a camera has some sixty; each is written and read once to see whether it can be.
_MOST_ENTRIES = 500
# A JPEG segment holds 64 KiB.
_LONGEST_COMMENT = 65_000

_HELD = {
    "png": tuple(_TITLES),
    "jpeg": ("exif", "icc_profile", "dpi", "xmp", "comment"),
    "webp": ("exif", "icc_profile", "xmp"),
    "tiff": ("exif", "icc_profile", "dpi", "xmp"),
    "bmp": ("dpi",),
}


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an opened image, 1 to 8; 1 if there is none to be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(value) if value in range(1, 9) else 1
    except Exception:
        return 1


def read_metadata(image: Image.Image) -> tuple[Metadata, list[str]]:
    """Return what a file holds besides its pixels, as it is true of the upright image.

    Args:
        image: As opened by Pillow, and loaded.

    Returns:
        The metadata, as far as the file holds it, and notes on what could not be read.
    """
    notes: list[str] = []
    readers: dict[str, Callable[[Image.Image], Any]] = {
        "exif": lambda image: _exif(image, notes),
        "icc_profile": lambda image: bytes(image.info.get("icc_profile") or b""),
        "dpi": _dpi,
        "xmp": _xmp,
        "comment": _comment,
        "texts": _texts,
    }
    metadata = {}
    for name, read in readers.items():
        # What is wrong with it may raise anything, as with damaged pixels.
        try:
            value = read(image)
        except Exception:
            notes.append(_UNREADABLE.format(_TITLES[name]))
            continue
        if value:
            metadata[name] = value
    return metadata, notes


def writable(name: str, mode: str, metadata: Metadata) -> tuple[dict[str, Any], list[str]]:
    """Return the options of Pillow's ``save`` for a format, with the metadata that it can hold.

    Args:
        name: ``png``, ``jpeg``, ``webp``, ``tiff`` or ``bmp``.
        mode: Mode of the image.
        metadata: As from `read_metadata`.

    Returns:
        The options, and notes on what is left behind.
    """
    held = {key: value for key, value in metadata.items() if key in _HELD[name]}
    kept = {key: value for key, value in held.items() if _works(name, mode, {key: value})}
    notes = [
        f"{_TITLES[key]} left behind: {name} does not hold it" for key in metadata.keys() - held
    ]
    notes += [
        f"{_TITLES[key]} left behind: cannot be written as {name}" for key in held.keys() - kept
    ]
    return save_options(name, kept), sorted(notes)


def save_options(name: str, metadata: Metadata) -> dict[str, Any]:
    """Return the options of Pillow's ``save`` for a format and metadata that it can hold."""
    options = {k: v for k, v in metadata.items() if k in ("exif", "icc_profile", "dpi")}
    if name == "png":
        options["pnginfo"] = info = PngImagePlugin.PngInfo()
        for key, text in metadata.get("texts", {}).items():
            info.add_itxt(key, text)
        if "xmp" in metadata:
            info.add_itxt(_PNG_XMP, metadata["xmp"].decode("utf-8", "replace"))
        if "comment" in metadata:
            info.add_itxt("Comment", metadata["comment"].decode("utf-8", "replace"))
    elif name == "jpeg":
        options |= {k: v for k, v in metadata.items() if k in ("xmp", "comment")}
        options |= {"quality": 95, "subsampling": 0}
    elif name == "webp":
        options |= {k: v for k, v in metadata.items() if k == "xmp"}
        options |= {"lossless": True, "exact": True}
    elif name == "tiff":
        options |= _tiff_options(metadata)
    return options


def _tiff_options(metadata: Metadata) -> dict[str, Any]:
    directory = Image.Exif()
    directory.load(metadata.get("exif", b""))
    if "xmp" in metadata:
        directory[_TIFF_XMP] = metadata["xmp"]
    # libtiff, which compresses, cannot write the directories of a camera's EXIF.
    nested = any(tag in directory for tag in _DIRECTORIES)
    return {"compression": "raw" if nested else "tiff_adobe_deflate", "exif": directory}


def _works(name: str, mode: str, metadata: Metadata) -> bool:
    """Return whether a small image comes back whole from a file with the metadata."""
    if name == "jpeg" and len(metadata.get("comment", b"")) > _LONGEST_COMMENT:
        return False
    small = Image.merge(mode, [Image.new("L", (3, 2), 77) for _ in mode])
    file = io.BytesIO()
    try:
        small.save(file, format=name, **save_options(name, metadata))
        file.seek(0)
        with Image.open(file, formats=[name]) as opened:
            opened.load()
            pair = [np.asarray(i.convert("RGBA"), int) for i in (opened, small)]
            return pair[0].shape == pair[1].shape and np.abs(pair[0] - pair[1]).max() < 9
    except Exception:
        return False


def _exif(image: Image.Image, notes: list[str]) -> bytes:
    """Return the EXIF block, with what describes the photograph and not how a file stores it."""
    exif = image.getexif()
    kept, broken = Image.Exif(), 0
    main, bad = _sound({tag: exif[tag] for tag in exif if tag in _DESCRIPTIVE}, None)
    broken += bad
    for tag, value in main.items():
        kept[tag] = value
    for directory in _DIRECTORIES:
        pointer, block = exif.get(directory), image.info.get("exif")
        if isinstance(pointer, int) and isinstance(block, bytes) and pointer >= len(block):
            broken += 1
            continue
        try:
            entries, bad = _sound(exif.get_ifd(directory), directory)
        except Exception:
            entries, bad = {}, 1
        broken += bad
        if entries:
            kept[directory] = entries
    if broken:
        notes.append("some EXIF left behind: cannot be read")
    return kept.tobytes() if kept else b""


def _sound(entries: Mapping[int, Any], directory: int | None) -> tuple[dict[int, Any], int]:
    """Return the entries to keep, of those that can be written, and how many cannot."""
    sound, broken = {}, 0
    if len(entries) > _MOST_ENTRIES:
        return {}, len(entries)
    for tag, value in entries.items():
        if tag in _STORAGE:
            continue
        try:
            alone, again = Image.Exif(), Image.Exif()
            alone[directory or tag] = {tag: value} if directory else value
            again.load(alone.tobytes())
            held = tag in (again.get_ifd(directory) if directory else again)
        except Exception:
            held = False
        if held:
            sound[tag] = value
        else:
            broken += 1
    return sound, broken


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    if "dpi" not in image.info:
        return None
    across, down = (float(value) for value in image.info["dpi"])
    if not (math.isfinite(across + down) and min(across, down) > 0):
        raise ValueError("no resolution")
    return across, down


def _xmp(image: Image.Image) -> bytes:
    xmp = image.info.get(_PNG_XMP) or image.info.get("xmp") or b""
    return _XMP_ORIENTATION.sub(b"", xmp.encode() if isinstance(xmp, str) else bytes(xmp))


def _comment(image: Image.Image) -> bytes:
    comment = image.info.get("comment") or b""
    return comment.encode() if isinstance(comment, str) else bytes(comment)


def _texts(image: Image.Image) -> dict[str, str]:
    texts = getattr(image, "text", {})
    return {
        key: str(text)
        for key, text in texts.items()
        if key != _PNG_XMP and not key.startswith(_PNG_COPIES)
    }
