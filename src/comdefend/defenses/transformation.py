"""What input transformations share: checks, and a gradient for those that have none.

Each is an ``nn.Module`` that takes and returns images, (N, C, H, W) float in [0, 1] with 1 or 3
channels, and treats every image by itself. None has weights or a training mode. Those that draw at
random say so by ``random = True`` and draw from torch's global generator, so that an attack can
average over draws and a caller can seed them.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from comdefend.errors import InputError
from comdefend.nn.gradient import straight_through
from comdefend.nn.images import check_dtype, check_range


class Transformation(nn.Module, ABC):
    """Checks images and returns what `transform` makes of them."""

    random: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        # New modules are in training mode, in which models are refused.
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Transform images: (N, C, H, W) float in [0, 1], C 1 or 3 -> the same.

        Raises:
            InputError: Wrong shape or range, NaN, or images too small.
            InputTypeError: Not a float tensor.
        """
        check_dtype("images", images, getattr(images, "dtype", torch.float32))
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise InputError(
                "images: must have shape (N, C, H, W) with 1 or 3 channels, "
                f"not {tuple(images.shape)}"
            )
        check_range("images", images)
        return self.transform(images)

    @abstractmethod
    def transform(self, images: Tensor) -> Tensor:
        """Transform images that have been checked."""


class StraightThrough(Transformation):
    """A transformation whose gradient is that of the identity (`straight_through`)."""

    def forward(self, images: Tensor) -> Tensor:
        """Transform images, and pass gradients straight through: see `Transformation`."""
        with torch.no_grad():
            transformed = super().forward(images)
        return straight_through(images, transformed)


def check_number(name: str, value: object, maximum: float = math.inf) -> None:
    """Check that a parameter is a finite number above 0 and at most ``maximum``.

    Raises:
        InputError: It is not.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 < value <= maximum:  # type: ignore[arg-type, operator]
        bound = "" if maximum == math.inf else f" and at most {maximum:g}"
        raise InputError(f"{name} must be a finite number above 0{bound}, not {value!r}")


def check_side(name: str, needed: int, images: Tensor) -> None:
    """Check that images are large enough for a parameter.

    Raises:
        InputError: A side has fewer pixels than ``needed``.
    """
    height, width = images.shape[-2:]
    if min(height, width) < needed:
        raise InputError(
            f"images: sides of {height}x{width} are too small for this {name}, "
            f"which needs {needed} pixels"
        )
