"""Several bits for one value: its interval in Gray code, as a folding converter computes it.

Real numbers become b bits each by b - 1 folds: the sign is the first bit, and the distance from a
centre tells the rest in the same way. Neighbouring intervals differ in one bit (Gray 1953), so
noise that moves a value a little flips one bit, and each bit is the sign of a continuous function
of the value. A gradient therefore passes through all bits as it does through a single one.

Intervals are 2 wide, except the outermost two, which have no end. That is the scale on which the
training noise counts.
"""

import torch
from torch import Tensor, nn


class Fold(nn.Module):
    """Values to the logits of their bits: (N, V, h, w), unbounded -> (N, V * bits, h, w).

    The bits of a value follow each other, the coarsest first.

    Args:
        bits: Bits per value.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, values: Tensor) -> Tensor:
        """Return the logits."""
        logits = [values]
        for bit in range(1, self.bits):
            logits.append(2.0 ** (self.bits - bit) - logits[-1].abs())
        return torch.stack(logits, 2).flatten(1, 2)


class Unfold(nn.Module):
    """Bits to the values that they tell: (N, V * bits, h, w) in [0, 1] -> (N, V, h, w) in [0, 1].

    The centres of the intervals, on a scale from 0 for the lowest, whose bits are all 0, to 1 for
    the highest.

    Args:
        bits: Bits per value.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, code: Tensor) -> Tensor:
        """Return the values."""
        count, maps, height, width = code.shape
        signs = 2 * code.reshape(count, maps // self.bits, self.bits, height, width) - 1
        # Distances from the centre, in halves of the whole range, from the finest bit upwards.
        value = signs[:, :, -1] * 0.5**self.bits
        for bit in range(self.bits - 1, 0, -1):
            value = signs[:, :, bit - 1] * (0.5**bit - value)
        largest = 1 - 0.5**self.bits
        return 0.5 + value / (2 * largest)
