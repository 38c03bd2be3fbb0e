"""The bits of a code, and the levels that they tell in Gray code: see `nn.gray_code`."""

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint8]
"""(maps, height, width), 0 or 1."""
Levels = npt.NDArray[np.uint8]
"""(values, height, width), 0 to 2^bits - 1: the intervals of the values, from the lowest."""


def to_levels(bits: Bits, value_bits: int) -> Levels:
    """Return the levels that bits tell, the coarsest bit of each value first."""
    maps, height, width = bits.shape
    grouped = bits.reshape(maps // value_bits, value_bits, height, width)
    level_bit = np.zeros((maps // value_bits, height, width), np.uint8)
    levels = np.zeros_like(level_bit)
    for bit in range(value_bits):
        level_bit ^= grouped[:, bit]
        levels = (levels << 1) | level_bit
    return levels


def to_bits(levels: Levels, value_bits: int) -> Bits:
    """Return the bits that tell levels: the inverse of `to_levels`."""
    gray = levels ^ (levels >> 1)
    bits = [(gray >> bit) & 1 for bit in reversed(range(value_bits))]
    return np.stack(bits, 1).reshape(-1, *levels.shape[1:])
