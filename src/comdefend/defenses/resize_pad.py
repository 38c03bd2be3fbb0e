"""Random resizing and padding."""

import torch
import torch.nn.functional as F
from torch import Tensor

from comdefend.defenses.transformation import Transformation, check_number
from comdefend.nn.gradient import straight_through


class ResizePad(Transformation):
    """Resizing to a random size and padding at a random position (Xie et al. 2018).

    Xie et al. enlarge images. To keep their shape, this shrinks them instead, bilinearly and with
    their proportions, to a height drawn evenly from round(smallest * H) to H, and pads them with
    zeros back to (H, W). Every image has its own draw.

    Random. The gradient is that of the size and position that were drawn.

    Args:
        smallest: Smallest share of a side to which images shrink; above 0, at most 1.

    Raises:
        InputError: ``smallest`` is out of its range.
    """

    random = True

    def __init__(self, smallest: float = 0.85) -> None:
        super().__init__()
        check_number("smallest", smallest, 1)
        self.smallest = smallest

    def transform(self, images: Tensor) -> Tensor:
        """Resize and pad."""
        return torch.cat([self._moved(image) for image in images.split(1)])

    def _moved(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        small_height = _drawn(max(1, round(self.smallest * height)), height)
        small_width = max(1, round(width * small_height / height))
        small = F.interpolate(image, (small_height, small_width), mode="bilinear")
        top = _drawn(0, height - small_height)
        left = _drawn(0, width - small_width)
        right, bottom = width - small_width - left, height - small_height - top
        padded = F.pad(small, (left, right, top, bottom))
        # Interpolation leaves [0, 1] by rounding errors alone; they must not cost white its
        # gradient.
        return straight_through(padded, padded.detach().clamp(0, 1))

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"smallest={self.smallest:g}"


def _drawn(low: int, high: int) -> int:
    """Draw an integer from ``low`` to ``high``, both included."""
    return int(torch.randint(low, high + 1, ()))
