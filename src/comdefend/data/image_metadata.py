"""What image files hold besides pixels: EXIF, colour profile, resolution, XMP, texts."""

from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

_ORIENTATION = ExifTags.Base.Orientation
_DESCRIPTIVE = {
    ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model,
    ExifTags.Base.Software, ExifTags.Base.DateTime, ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
}  # fmt: skip
_SEGMENTS = ("exif", "xmp", "comment")
_PNG_XMP = "XML:com.adobe.xmp"
_TIFF_XMP = 700
_METADATA = ("icc_profile", "dpi", "comment")
# Options of Pillow's writers.
_HELD = {
    "png": ("exif", "icc_profile", "dpi"),
    "jpeg": ("exif", "icc_profile", "dpi", "xmp", "comment"),
    "webp": ("exif", "icc_profile", "xmp"),
    "tiff": ("exif", "icc_profile", "dpi"),
    "bmp": ("dpi",),
}


def read_metadata(image: Image.Image) -> dict[str, Any]:
    """Return what a file holds besides its pixels, as it is true of the upright image.

    Args:
        image: As opened by Pillow, turned upright.

    Returns:
        As far as the file holds them: ``exif``, ``icc_profile``, ``dpi``, ``xmp``, ``comment`` and
        ``texts``, the text chunks of a PNG.
    """
    # Turning an image upright has corrected the orientation in its EXIF and XMP.
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
    """Return the EXIF block without entries that the pixels show or the writer sets."""
    exif = image.getexif()
    kept = Image.Exif()
    for tag, value in exif.items():
        # To Pillow all of a TIFF's own directory is EXIF, such as where its strips lie.
        if tag != _ORIENTATION and (not tiff or tag in _DESCRIPTIVE):
            kept[tag] = value
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if entries := exif.get_ifd(directory):
            kept[directory] = dict(entries)
    return kept.tobytes() if kept else b""


def save_options(name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the options of Pillow's ``save`` for a format, with the metadata that it can hold.

    Args:
        name: ``png``, ``jpeg``, ``webp``, ``tiff`` or ``bmp``.
        metadata: As from `read_metadata`.
    """
    options = {key: metadata[key] for key in _HELD[name] if key in metadata}
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
        # A JPEG segment holds 64 KiB; metadata that is larger is dropped.
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
