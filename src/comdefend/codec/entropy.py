"""Entropy coding of a tile of the code: by probability tables where there are any, else raw."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from comdefend.codec.contexts import Contexts, Integers
from comdefend.codec.levels import Bits, Levels, to_bits, to_levels
from comdefend.codec.tables import Tables
from comdefend.common.extras import require
from comdefend.errors import ImageError

Floats = npt.NDArray[np.float64]

_AT_ONCE = 1 << 17
"""Probabilities that are looked up at once."""


def pack(bits: Bits, known: int, value_bits: int, tables: Tables | None) -> bytes:
    """Return a tile of some maps as bytes.

    Args:
        bits: (maps, height, width): these maps, and those before them.
        known: How many of them the reader knows already.
        value_bits: Bits that tell one value.
        tables: Probability tables, or None.
    """
    raw = np.packbits(bits[known:]).tobytes()
    if tables is None:
        return raw
    coded = _encode(to_levels(bits, value_bits), known // value_bits, tables)
    # A stream as long as the bits is the bits, so that no image takes more than these.
    return coded if len(coded) < len(raw) else raw


def unpack(data: bytes, known: Bits, maps: int, value_bits: int, tables: Tables | None) -> Bits:
    """Return the maps that `pack` made bytes of.

    Args:
        data: The bytes, no more than the bits take.
        known: (known maps, height, width).
        maps: How many maps there are in all.
        value_bits, tables: As for `pack`.

    Raises:
        ImageError: The bytes tell no maps of that size.
    """
    before, height, width = known.shape
    count = (maps - before) * height * width
    if len(data) == -(-count // 8):
        bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count)
        return bits.reshape(maps - before, height, width)
    if tables is None or len(data) % 4:
        raise ImageError("is damaged: a part is too short for its tile")
    levels = to_levels(known, value_bits)
    return to_bits(_decode(data, levels, maps // value_bits, tables), value_bits)


def _encode(levels: Levels, known: int, tables: Tables) -> bytes:
    stream, family = _coder()
    encoder = stream.queue.RangeEncoder()
    contexts, buffer = Contexts(tables, *levels.shape[1:]), _buffer(tables)
    for number, value in enumerate(levels):
        if number >= known:
            for parity in range(2):
                symbols = value[parity::2].reshape(-1).astype(np.int32)
                start = 0
                for probabilities in _distributions(tables, contexts.rows(parity, value), buffer):
                    end = start + len(probabilities)
                    encoder.encode(symbols[start:end], family, probabilities)
                    start = end
        contexts.add(value)
    return encoder.get_compressed().astype("<u4").tobytes()


def _decode(data: bytes, known: Levels, count: int, tables: Tables) -> Levels:
    """Return the values behind the known ones."""
    stream, family = _coder()
    decoder = stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
    contexts, buffer = Contexts(tables, *known.shape[1:]), _buffer(tables)
    for value in known:
        contexts.add(value)
    levels = np.zeros((count - len(known), *known.shape[1:]), np.uint8)
    for value in levels:
        for parity in range(2):
            distributions = _distributions(tables, contexts.rows(parity, value), buffer)
            try:
                symbols = [decoder.decode(family, probabilities) for probabilities in distributions]
            except AssertionError as error:
                raise ImageError("is damaged: a part tells no code") from error
            if symbols:
                value[parity::2] = np.concatenate(symbols).reshape(-1, value.shape[1])
        contexts.add(value)
    return levels


def _buffer(tables: Tables) -> Floats:
    """Return room for as many distributions as are looked up at once.

    Memory that is new each time would take longer than the rest of the coding.
    """
    return np.empty((max(_AT_ONCE // tables.levels, 1), tables.levels))


def _distributions(tables: Tables, rows: Integers, buffer: Floats) -> Iterator[Floats]:
    """Yield the distributions of places, (count, L), as many at a time as there is room for."""
    for start in range(0, len(rows), len(buffer)):
        some = rows[start : start + len(buffer)]
        # Without a mode NumPy would copy.
        yield np.take(tables.distributions, some, 0, buffer[: len(some)], "clip")


def _coder() -> tuple[Any, Any]:
    """Return constriction's stream coders, and its distributions over levels.

    It makes of frequencies that add up to `TOTAL` shares of 2^24: in double precision that is
    arithmetic of whole numbers, and nothing is rounded.
    """
    stream = require("constriction", "codec").stream
    return stream, stream.model.Categorical(perfect=False)
