"""The container: a compressed image as bytes, and what its header promises.

`docs/codec.md` describes every byte. Reading trusts nothing: a length is compared with what the
header allows and with what is there before anything of that length is made.
"""

import struct
import zlib
from collections.abc import Iterator

import msgspec

from comdefend.errors import ImageError
from comdefend.nn.config import MAX_DOWNSCALE, MAX_VALUE_BITS, MAX_WIDTH

SUFFIX = ".comd"
"""Suffix of compressed images."""

MAGIC = b"\x89comd\r\n\x1a"
VERSION = 1
TILE = 256
"""Side of the tiles in which a code is stored, in places of the code."""
MAX_NAME = 64
MAX_RATES = 32
MAX_PROFILE = 1 << 22
"""Largest ICC profile, in bytes."""

DIGEST = 8
"""How many bytes of a SHA-256 name a file of weights or tables."""

_FIXED = struct.Struct("<8sBIIBBBBBB8s8sB")
_PART = struct.Struct("<II")
_ALPHA, _PROFILE = 1, 2

TOO_LARGE = (
    "has {:.4g} megapixels, more than {:.4g}, and may be a decompression bomb; if it is not, raise "
    "the limit (--max-megapixels)"
)


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a compressed image says of itself.

    Attributes:
        width, height: Of the upright image, in pixels.
        channels: 3 for RGB, 1 for grey.
        alpha, profile: Whether an alpha channel and an ICC profile are there.
        weights: Name of the weights, to be shown; never a path to open.
        weights_digest: First 8 bytes of the SHA-256 of the weight file.
        tables_digest: First 8 bytes of the SHA-256 of the probability tables; zeros where the code
            is stored without any.
        downscale, reduction, value_bits: As in `PurifierConfig`.
        rates: Ascending numbers of maps: the first maps alone are a code too.
    """

    width: int
    height: int
    channels: int
    alpha: bool
    profile: bool
    weights: str
    weights_digest: bytes
    tables_digest: bytes
    downscale: int
    reduction: int
    value_bits: int
    rates: tuple[int, ...]

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @property
    def code_size(self) -> tuple[int, int]:
        """Height and width of the code, in places."""
        multiple = self.downscale * self.reduction
        height, width = (-(-side // multiple) * self.reduction for side in self.image_size)
        return height, width

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the image, in pixels."""
        return self.height, self.width

    @property
    def bpps(self) -> tuple[float, ...]:
        """Bits of code per pixel at each rate."""
        return tuple(maps / self.downscale**2 for maps in self.rates)


class Container(msgspec.Struct, frozen=True):
    """A compressed image.

    Attributes:
        header: What it says of itself.
        profile, alpha: The ICC profile and the alpha channel, as stored; empty where there is none.
        streams: For each rate, the streams of all tiles, row by row. A truncated file has fewer
            rates than its header says.
    """

    header: Header
    profile: bytes
    alpha: bytes
    streams: tuple[tuple[bytes, ...], ...]


def code_tiles(size: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of the tiles of a code of this height and width, row by row."""
    height, width = size
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            yield slice(top, min(top + TILE, height)), slice(left, min(left + TILE, width))


def raw_length(maps: int, rows: slice, columns: slice) -> int:
    """Return how many bytes this many maps of a tile take without entropy coding."""
    places = (rows.stop - rows.start) * (columns.stop - columns.start)
    return -(-maps * places // 8)


def write_container(container: Container) -> bytes:
    """Return a compressed image as bytes."""
    streams = [stream for rate in container.streams for stream in rate]
    parts = [part for part in (container.profile, container.alpha) if part] + streams
    data = [_header_bytes(container.header)]
    for part in parts:
        data += [_PART.pack(len(part), zlib.crc32(part)), part]
    return b"".join(data)


def read_header(data: bytes) -> Header:
    """Return the header of a compressed image.

    Raises:
        ImageError: Not a compressed image, of a version that is not known, or damaged.
    """
    return _read_header(data)[0]


def read_container(data: bytes, rates: int = MAX_RATES) -> Container:
    """Read a compressed image as far as it goes.

    Args:
        data: The file.
        rates: How many rates to read at most; what follows is not looked at.

    Raises:
        ImageError: Not a compressed image, damaged, or so short that no rate is whole.
    """
    header, start = _read_header(data)
    parts = _Parts(data, start)
    extra = [
        parts.next(longest) if there else b""
        for there, longest in (
            (header.profile, _deflated(MAX_PROFILE)),
            (header.alpha, _deflated(header.pixels)),
        )
    ]
    streams: list[tuple[bytes, ...]] = []
    known = 0
    for maps in header.rates[:rates]:
        tiles = code_tiles(header.code_size)
        try:
            streams.append(tuple(parts.next(raw_length(maps - known, *tile)) for tile in tiles))
        except _TruncatedError:
            break
        known = maps
    if not streams:
        raise ImageError("is truncated: not even its lowest rate is whole")
    if len(streams) == len(header.rates) and parts.left:
        raise ImageError("is damaged: more follows where it should end")
    return Container(header, extra[0], extra[1], tuple(streams))


class _TruncatedError(ImageError):
    """A file that ends within a part."""


class _Parts:
    """The parts of a file, one after the other."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data = memoryview(data)
        self._at = start

    @property
    def left(self) -> int:
        """How many bytes follow."""
        return len(self._data) - self._at

    def next(self, longest: int) -> bytes:
        if self.left < _PART.size:
            raise _TruncatedError("is truncated: a part is missing")
        length, crc = _PART.unpack_from(self._data, self._at)
        if length > longest:
            raise ImageError(f"is damaged: a part of {length} bytes where at most {longest} fit")
        if length > self.left - _PART.size:
            raise _TruncatedError("is truncated: it ends within a part")
        start = self._at + _PART.size
        part = bytes(self._data[start : start + length])
        if zlib.crc32(part) != crc:
            raise ImageError("is damaged: a part does not fit its checksum")
        self._at = start + length
        return part


def _deflated(length: int) -> int:
    """Return the most bytes that zlib makes of this many."""
    return length + length // 1000 + 64


def _header_bytes(header: Header) -> bytes:
    name = header.weights.encode("ascii")
    fixed = _FIXED.pack(
        MAGIC,
        VERSION,
        header.width,
        header.height,
        header.channels,
        _ALPHA * header.alpha | _PROFILE * header.profile,
        header.downscale,
        header.reduction,
        header.value_bits,
        len(header.rates),
        header.weights_digest,
        header.tables_digest,
        len(name),
    )
    data = fixed + name + struct.pack(f"<{len(header.rates)}H", *header.rates)
    return data + struct.pack("<I", zlib.crc32(data))


def _read_header(data: bytes) -> tuple[Header, int]:
    """Return the header, and where it ends."""
    if data[: len(MAGIC)] != MAGIC:
        raise ImageError("is not a compressed image of comdefend")
    if len(data) < _FIXED.size:
        raise ImageError("is truncated: it ends within its header")
    fields = _FIXED.unpack_from(data)
    if fields[1] != VERSION:
        raise ImageError(f"is of version {fields[1]} of the format; this reads version {VERSION}")
    rates, name = fields[9], fields[12]
    end = _FIXED.size + name + 2 * rates
    if len(data) < end + 4:
        raise ImageError("is truncated: it ends within its header")
    if zlib.crc32(data[:end]) != struct.unpack_from("<I", data, end)[0]:
        raise ImageError("is damaged: its header does not fit its checksum")
    text = data[_FIXED.size : _FIXED.size + name].decode("ascii", "replace")
    header = Header(
        width=fields[2],
        height=fields[3],
        channels=fields[4],
        alpha=bool(fields[5] & _ALPHA),
        profile=bool(fields[5] & _PROFILE),
        downscale=fields[6],
        reduction=fields[7],
        value_bits=fields[8],
        weights_digest=fields[10],
        tables_digest=fields[11],
        weights=text,
        rates=struct.unpack_from(f"<{rates}H", data, _FIXED.size + name),
    )
    if fields[5] & ~(_ALPHA | _PROFILE) or not _is_sound(header):
        raise ImageError("is damaged: its header makes no sense")
    return header, end + 4


def is_name(text: str) -> bool:
    """Return whether weights can be named so in a header: it must be safe to print."""
    return 1 <= len(text) <= MAX_NAME and all(
        (c.isascii() and c.isalnum()) or c in "._-" for c in text
    )


def _is_sound(header: Header) -> bool:
    rates = header.rates
    return (
        min(header.image_size) >= 1
        and header.channels in (1, 3)
        and 1 <= header.downscale <= MAX_DOWNSCALE
        and 1 <= header.reduction <= MAX_DOWNSCALE
        and 1 <= header.value_bits <= MAX_VALUE_BITS
        and 1 <= len(rates) <= MAX_RATES
        and list(rates) == sorted(set(rates))
        and rates[0] >= 1
        and rates[-1] <= MAX_WIDTH
        and not any(maps % header.value_bits for maps in rates)
        and is_name(header.weights)
    )


def check_pixels(header: Header, limit: float) -> None:
    """Check that an image is not too large, before anything of its size is made.

    Raises:
        ImageError: It has more pixels than ``limit``.
    """
    if header.pixels > limit:
        raise ImageError(TOO_LARGE.format(header.pixels / 1e6, limit / 1e6))
