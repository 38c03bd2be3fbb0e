"""Total variation minimisation."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from comdefend.common.extras import require
from comdefend.defenses.transformation import StraightThrough, check_number


class TotalVariation(StraightThrough):
    """Total variation minimisation (Guo et al. 2018), by scikit-image.

    Chambolle's algorithm (2004) on each channel by itself. Guo et al. drop pixels at random before
    they minimise; this does not, and is deterministic.

    Args:
        weight: Weight of the total variation against the distance to the image, above 0.

    Raises:
        InputError: ``weight`` is not a finite number above 0.
        ExtraMissingError: The ``evaluate`` extra is not installed.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        check_number("weight", weight)
        self.weight = weight
        self._denoise: Any = require("skimage.restoration", "evaluate").denoise_tv_chambolle

    def transform(self, images: Tensor) -> Tensor:
        """Smooth."""
        smooth = [
            self._denoise(image, weight=self.weight, channel_axis=0)
            for image in images.double().cpu().numpy()
        ]
        return torch.from_numpy(np.stack(smooth)).to(images).clamp(0, 1)

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"weight={self.weight:g}"
