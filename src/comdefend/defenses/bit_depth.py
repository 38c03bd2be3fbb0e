"""Fewer bits per value."""

from torch import Tensor

from comdefend.defenses.transformation import StraightThrough
from comdefend.nn.config import check_integer


class BitDepth(StraightThrough):
    """Rounding to 2^bits evenly spaced values (feature squeezing, Xu et al. 2018, Section III-A).

    Args:
        bits: From 1 to 8.

    Raises:
        InputError: ``bits`` is out of its range.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        check_integer("bits", bits, 8)
        self.bits = bits

    def transform(self, images: Tensor) -> Tensor:
        """Round."""
        steps = 2**self.bits - 1
        return (images.clamp(0, 1) * steps).round() / steps

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"bits={self.bits}"
