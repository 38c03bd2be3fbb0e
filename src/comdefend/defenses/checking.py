"""Checks that a defence can be evaluated correctly."""

import torch
from torch import Tensor, nn

from comdefend.errors import ComdefendError, InputError, InputTypeError, one_line, out_of_memory
from comdefend.nn.batches import apply, device_of
from comdefend.nn.images import RANGE_TOLERANCE


def check_defense(defense: nn.Module, images: Tensor) -> Tensor:
    """Check that a defence takes images and returns images, and return what it makes of them.

    Args:
        defense: Images (N, C, H, W) in [0, 1] to the same.
        images: (N, C, H, W) float in [0, 1], a few.

    Returns:
        The images behind the defence, on the CPU.

    Raises:
        InputError: It is in training mode, fails on the images, or returns something other than
            images of the same shape in [0, 1].
        InputTypeError: It returns no tensor.
    """
    if any(part.training for part in defense.modules()):
        raise InputError("the defence is in training mode; call its eval() first")
    try:
        purified = apply(defense, images)
    except ComdefendError:
        raise
    # A user's code may raise anything.
    except Exception as error:
        if out_of_memory(error):
            raise
        shape = tuple(images.shape)
        raise InputError(f"fails on images of shape {shape}: {one_line(error)}") from error
    if not isinstance(purified, Tensor):
        raise InputTypeError(f"must return a tensor, not {type(purified).__name__}")
    if purified.shape != images.shape:
        raise InputError(
            f"must return images of shape {tuple(images.shape)}, not {tuple(purified.shape)}"
        )
    low, high = (value.item() for value in purified.aminmax())
    if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):
        raise InputError(
            f"must return images in [0, 1] without NaN, not values from {low:.4g} to {high:.4g}"
        )
    return purified


def check_own_defense(defense: nn.Module, images: Tensor) -> None:
    """Check a user's defence for what would make its evaluation wrong without a word.

    Args:
        defense: As for `check_defense`, which has passed it.
        images: (N, C, H, W) float in [0, 1], a few.

    Raises:
        InputError: It passes no gradient to its images.
    """
    with torch.enable_grad():
        wanted = images.detach().clone().to(device_of(defense)).requires_grad_()
        if not defense(wanted).requires_grad:
            raise InputError(
                "passes no gradient to its images, which adaptive attacks need; where it has "
                "none, use comdefend.nn.gradient.straight_through"
            )
