"""Image files without the metadata that keeps them from being read."""

import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

_PNG = b"\x89PNG\r\n\x1a\n"
# Of chunks that hold no pixels, the first ones; each is read by itself to see whether it can be.
_MOST_CHUNKS = 100
# Chunks beside the critical ones that decide on pixels, or tell that a file is animated.
_PNG_PIXELS = (b"tRNS", b"acTL", b"fcTL", b"fdAT")
_JPEG = b"\xff\xd8"
# JFIF and Adobe: they tell the colours of the pixels.
_JPEG_PIXELS = (0xE0, 0xEE)
_JPEG_APPLICATION = range(0xE0, 0xF0)
_JPEG_COMMENT = 0xFE
_JPEG_SCAN = 0xDA


def without_damaged_metadata(data: bytes) -> list[bytes]:
    """Return what to try instead of a file that cannot be read, in this order.

    Of a PNG, without the chunks that cannot be read and then without any that hold no pixels; of a
    JPEG, without its application segments and comments, with the EXIF and then without; of other
    files nothing.
    """
    try:
        if data.startswith(_PNG):
            return [_png(data, keep_sound=True), _png(data, keep_sound=False)]
        if data.startswith(_JPEG):
            return [_jpeg(data, keep_exif=True), _jpeg(data, keep_exif=False)]
    except (struct.error, IndexError):
        pass
    return []


def _png(data: bytes, keep_sound: bool) -> bytes:
    kept, checked = [_PNG], 0
    for kind, chunk in _chunks(data):
        if kind[:1].isupper() or kind in _PNG_PIXELS:
            kept.append(chunk)
        elif keep_sound and checked < _MOST_CHUNKS:
            checked += 1
            if _is_sound(chunk):
                kept.append(chunk)
    return b"".join(kept)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of a PNG: their kind, and all their bytes."""
    at = len(_PNG)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at : at + 12 + length]
        at += 12 + length


def _is_sound(chunk: bytes) -> bool:
    """Return whether an image of one pixel can be read with the chunk in it."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixels = _chunk(b"IDAT", zlib.compress(b"\0\0")) + _chunk(b"IEND", b"")
    try:
        with Image.open(io.BytesIO(_PNG + header + chunk + pixels), formats=["PNG"]) as opened:
            opened.load()
    except Exception:
        return False
    return True


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum


def _jpeg(data: bytes, keep_exif: bool) -> bytes:
    kept, at = [_JPEG], len(_JPEG)
    while data[at] == 0xFF and data[at + 1] != _JPEG_SCAN:
        marker = data[at + 1]
        (length,) = struct.unpack_from(">H", data, at + 2)
        exif = data[at + 4 : at + 10] == b"Exif\0\0"
        needed = marker in _JPEG_PIXELS or (exif and keep_exif)
        dropped = marker in _JPEG_APPLICATION and not needed
        if not dropped and marker != _JPEG_COMMENT:
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    return b"".join([*kept, data[at:]])
