"""The median of a window."""

import torch.nn.functional as F
from torch import Tensor

from comdefend.defenses.transformation import StraightThrough, check_side
from comdefend.errors import InputError


class MedianSmoothing(StraightThrough):
    """The median of a square window around each pixel (Xu et al. 2018, Section III-B).

    Each channel by itself; the pixels of the border are repeated outwards. Computed in torch by
    unfolding, with the result of ``scipy.ndimage.median_filter(mode="nearest")``.

    Args:
        size: Side of the window: odd, at least 3, and at most the smaller side of the images.

    Raises:
        InputError: ``size`` is even, or too small.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if not isinstance(size, int) or isinstance(size, bool) or size < 3 or size % 2 == 0:
            raise InputError(f"size must be an odd integer, at least 3, not {size!r}")
        self.size = size

    def transform(self, images: Tensor) -> Tensor:
        """Smooth."""
        check_side("size", self.size, images)
        margin = self.size // 2
        padded = F.pad(images, (margin, margin, margin, margin), mode="replicate")
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1)
        return windows.flatten(4).median(-1).values.clamp(0, 1)

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"size={self.size}"
