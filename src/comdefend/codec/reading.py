"""Bytes to images: whatever they are, the outcome is an image, or one line that says why not."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from comdefend import zoo
from comdefend.codec.code import Code, decode_image
from comdefend.codec.codec import Codec, config_of, open_codec
from comdefend.codec.container import (
    DIGEST,
    MAX_PROFILE,
    Container,
    check_pixels,
    code_tiles,
    read_container,
    read_header,
)
from comdefend.codec.entropy import unpack
from comdefend.codec.parallel import map_tiles
from comdefend.codec.tables import Tables
from comdefend.data.image import ImageCanvas, ReadImage
from comdefend.data.image_files import NEEDS_MEMORY
from comdefend.errors import ImageError, InputError, out_of_memory

_NONE = bytes(DIGEST)
"""The digest of no tables."""


@dataclass(frozen=True)
class Opened:
    """A compressed image that is ready to be rebuilt.

    Attributes:
        container: The file, up to the rate that is rebuilt.
        bpp: Bits of code per pixel that are rebuilt.
        missing: Rates that were asked for and are not whole, as the file is truncated.
    """

    container: Container
    bpp: float
    missing: int


def open_image(data: bytes, max_pixels: float, bpp: float | None = None) -> Opened:
    """Read a compressed image; nothing of the image's size is made.

    Args:
        data: The file.
        max_pixels: Larger images are refused.
        bpp: Bits of code per pixel to rebuild; by default all that the file has.

    Raises:
        ImageError: Not a compressed image, damaged, truncated within its lowest rate, or too large.
        InputError: The file does not have that rate.
    """
    header = read_header(data)
    check_pixels(header, max_pixels)
    if bpp is not None and bpp not in header.bpps:
        known = ", ".join(f"{rate:g}" for rate in header.bpps)
        raise InputError(f"bpp: this image was compressed at {known} bits per pixel, not {bpp:g}")
    wanted = len(header.rates) if bpp is None else header.bpps.index(bpp) + 1
    container = read_container(data, wanted)
    whole = len(container.streams)
    return Opened(container, header.bpps[whole - 1], wanted - whole)


def codec_for(
    opened: Opened,
    weights: str | Path | None = None,
    engine: str = "auto",
    device: torch.device | str = "cpu",
) -> Codec:
    """Open the codec that rebuilds an image. The file names weights that ship, never a path.

    Args:
        opened: The image.
        weights: Weights to take instead of shipped ones, if they are those of the file.
        engine, device: As for `open_codec`.

    Raises:
        InputError: The file was made with other weights.
        DataMissingError, WeightsError, ExtraMissingError: As for `open_codec`.
        ImageError: The header does not fit the weights.
    """
    header = opened.container.header
    named = f"weights '{header.weights}' (SHA-256 {header.weights_digest.hex()}...)"
    if weights is None and header.weights not in zoo.weights():
        raise InputError(f"was compressed with {named}, which do not ship: give them as weights")
    name = header.weights if weights is None else zoo.split_rate(str(weights))[0]
    if bytes.fromhex(zoo.checksum(name))[:DIGEST] != header.weights_digest:
        raise InputError(f"was compressed with {named}, not with '{name}' as it is here")
    config = config_of(name)
    of_weights = config.downscale, config.reduction, config.value_bits
    fits = of_weights == (header.downscale, header.reduction, header.value_bits)
    rates = {*config.rates, config.code_maps}
    if not fits or not rates.issuperset(header.rates) or header.channels > config.channels:
        raise ImageError("is damaged: its header does not fit its weights")
    codec = open_codec(name, opened.bpp, engine, device)
    if header.tables_digest not in (b"" if codec.tables is None else codec.tables.digest, _NONE):
        raise ImageError(
            f"needs the probability tables {header.tables_digest.hex()}, which are of another "
            "version of comdefend"
        )
    return codec


def rebuild_image(opened: Opened, codec: Codec) -> ReadImage:
    """Rebuild an image.

    Args:
        opened: The image.
        codec: From `codec_for`.

    Raises:
        ImageError: The file is damaged, or memory is too little.
    """
    container = opened.container
    header = container.header
    try:
        profile, alpha = _extras(container)
        image = Image.new("L" if header.channels == 1 else "RGB", (header.width, header.height))
        canvas = ImageCanvas(ReadImage(image), codec.config.channels)
        decode_image(codec.engine, read_code(container, codec.tables), canvas)
        if alpha is not None:
            image.putalpha(Image.fromarray(alpha))
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise ImageError(NEEDS_MEMORY) from error
    return ReadImage(image, {"icc_profile": profile} if profile else {})


def read_code(container: Container, tables: Tables | None) -> Code:
    """Return the code that a compressed image holds, bit for bit that which was compressed.

    Args:
        container: The file, up to the rate that is wanted.
        tables: The probability tables that its header names, or any where it names none.

    Raises:
        ImageError: The file is damaged.
    """
    header = container.header
    tables = None if header.tables_digest == _NONE else tables
    maps = header.rates[len(container.streams) - 1]
    code = Code(maps, header.code_size)
    rates = list(zip((0, *header.rates), header.rates, strict=False))

    def unpacked(tile: tuple[tuple[slice, slice], tuple[bytes, ...]]) -> None:
        places, streams = tile
        for (known, until), stream in zip(rates, streams, strict=False):
            before = code.read(known, *places)
            code.write(known, *places, unpack(stream, before, until, header.value_bits, tables))

    streams_of_tiles = zip(*container.streams, strict=True)
    map_tiles(unpacked, zip(code_tiles(header.code_size), streams_of_tiles, strict=True))
    return code


def _extras(container: Container) -> tuple[bytes, npt.NDArray[np.uint8] | None]:
    """Return the ICC profile and the alpha channel."""
    header = container.header
    profile = _inflated(container.profile, MAX_PROFILE) if header.profile else b""
    if not header.alpha:
        return profile, None
    steps = _inflated(container.alpha, header.pixels)
    if len(steps) != header.pixels:
        raise ImageError("is damaged: its alpha channel is of another size")
    rows = np.frombuffer(steps, np.uint8).reshape(header.image_size)
    return profile, np.add.accumulate(rows, axis=0, dtype=np.uint8)


def _inflated(data: bytes, most: int) -> bytes:
    """Return what zlib made these bytes of, if that is not more than it may be."""
    inflating = zlib.decompressobj()
    try:
        whole = inflating.decompress(data, most + 1)
    except zlib.error as error:
        raise ImageError(f"is damaged: a part cannot be inflated ({error})") from error
    if len(whole) > most or not inflating.eof or inflating.unused_data:
        raise ImageError("is damaged: a part is of another length")
    return whole


def truncated_note(opened: Opened) -> tuple[str, ...]:
    """Return a note on a truncated file, which says at what rate it is rebuilt."""
    bpps = opened.container.header.bpps
    if not opened.missing:
        return ()
    asked = bpps[bpps.index(opened.bpp) + opened.missing]
    return (f"truncated: rebuilt from {opened.bpp:g} of {asked:g} bits per pixel",)


def pixel_limit(max_megapixels: float | None) -> float:
    """Return how many pixels an image may have; by default as many as Pillow allows.

    Raises:
        InputError: The limit is not above 0.
    """
    if max_megapixels is None:
        return 2 * Image.MAX_IMAGE_PIXELS if Image.MAX_IMAGE_PIXELS else float("inf")
    if not max_megapixels > 0:
        raise InputError(f"max_megapixels must be above 0, not {max_megapixels}")
    return max_megapixels * 1e6
