"""Normal noise."""

import torch
from torch import Tensor

from comdefend.defenses.transformation import Transformation, check_number


class GaussianNoise(Transformation):
    """Independent normal noise on every value, clipped to [0, 1] (Cohen et al. 2019).

    Random. The gradient is that of the clipped sum, for the noise that was drawn.

    Args:
        std: Standard deviation, in units of the full range of values; above 0, at most 1.

    Raises:
        InputError: ``std`` is out of its range.
    """

    random = True

    def __init__(self, std: float) -> None:
        super().__init__()
        check_number("std", std, 1)
        self.std = std

    def transform(self, images: Tensor) -> Tensor:
        """Add noise."""
        return (images + self.std * torch.randn_like(images)).clamp(0, 1)

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"std={self.std:g}"
