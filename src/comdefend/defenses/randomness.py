"""Whether a module is random, which attacks and verdicts must take into account."""

import torch
from torch import Tensor, nn

from comdefend.nn.batches import apply

CALLED_TWICE = 32
"""Images to call a module on twice: many, for some change only a few of their answers."""


def is_random(module: nn.Module) -> bool:
    """Return whether a module, or one inside it, says that it draws its output at random.

    A module says so by an attribute ``random`` that is True.
    """
    return any(getattr(part, "random", False) is True for part in module.modules())


def draws_at_random(module: nn.Module, images: Tensor) -> bool:
    """Return whether a module draws its output at random, whatever it says about itself.

    It does if it answers the same images differently when it is called twice. One that says so is
    taken at its word, and not called.

    Args:
        module: In evaluation mode.
        images: (N, C, H, W) in [0, 1]; `CALLED_TWICE` of them, each several times if there are
            fewer.
    """
    if is_random(module):
        return True
    images = images[torch.arange(CALLED_TWICE) % len(images)]
    first, second = (apply(module, images, seed) for seed in (0, 1))
    # A GPU may add up in another order.
    return not torch.allclose(first, second, rtol=1e-4, atol=1e-5)
