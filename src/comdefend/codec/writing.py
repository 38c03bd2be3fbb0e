"""Images to bytes."""

import zlib

import numpy as np
import numpy.typing as npt

from comdefend.codec.code import Code, encode_image
from comdefend.codec.codec import Codec
from comdefend.codec.container import (
    DIGEST,
    MAX_PROFILE,
    Container,
    Header,
    code_tiles,
    write_container,
)
from comdefend.codec.entropy import pack
from comdefend.codec.parallel import map_tiles
from comdefend.codec.tables import Tables
from comdefend.data.image import ImageCanvas, ReadImage

_PROFILE_LEFT = "colour profile left behind: it is too large"


def compress_image(read: ReadImage, codec: Codec) -> tuple[bytes, tuple[str, ...]]:
    """Compress an image.

    Args:
        read: The image.
        codec: What compresses.

    Returns:
        The bytes, and notes on what is left behind.

    Raises:
        ImageError: A colour image, but the weights take grey ones; or too little memory.
    """
    canvas = ImageCanvas(read, codec.config.channels)
    profile = read.metadata.get("icc_profile", b"")
    notes = (_PROFILE_LEFT,) if len(profile) > MAX_PROFILE else ()
    height, width = canvas.size
    config = codec.config
    header = Header(
        width=width,
        height=height,
        channels=1 if read.image.mode in ("L", "LA") else 3,
        alpha=read.alpha is not None,
        profile=bool(profile) and not notes,
        weights=codec.name,
        weights_digest=codec.digest,
        tables_digest=bytes(DIGEST) if codec.tables is None else codec.tables.digest,
        downscale=config.downscale,
        reduction=config.reduction,
        value_bits=config.value_bits,
        rates=(*config.rates, config.code_maps),
    )
    container = Container(
        header,
        zlib.compress(profile, 9) if header.profile else b"",
        b"" if read.alpha is None else _alpha_bytes(np.asarray(read.alpha)),
        code_streams(encode_image(codec.engine, canvas), header, codec.tables),
    )
    return write_container(container), notes


def _alpha_bytes(alpha: npt.NDArray[np.uint8]) -> bytes:
    """Return an alpha channel, (height, width), as bytes: of each row what it adds to the last."""
    return zlib.compress(np.diff(alpha, axis=0, prepend=np.uint8(0)).tobytes(), 9)


def code_streams(
    code: Code, header: Header, tables: Tables | None
) -> tuple[tuple[bytes, ...], ...]:
    """Return the streams of a code for each rate of a header: those of all tiles, row by row."""

    def packed(tile: tuple[slice, slice]) -> list[bytes]:
        return [
            pack(code.read(maps, *tile), known, header.value_bits, tables)
            for known, maps in zip((0, *header.rates), header.rates, strict=False)
        ]

    return tuple(zip(*map_tiles(packed, code_tiles(header.code_size)), strict=True))
