"""Purifiers that draw at random in use.

Attack them by the mean over several draws (`comdefend.attacks.Expectation`): otherwise randomness
seems to protect more than it does.
"""

import torch
from torch import Tensor, nn

from comdefend.errors import InputError
from comdefend.nn.binarize import drawn_maps
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend


class Dither(nn.Module):
    """A binarizer that adds normal noise to the logits, in use too.

    Args:
        std: Standard deviation, in units of the logits; above 0. That of training is
            ``config.phi``.
        binarizer: Binarizer of the noisy logits.

    Raises:
        InputError: ``std`` is not a finite number above 0.
    """

    random = True

    def __init__(self, std: float, binarizer: nn.Module) -> None:
        if not 0 < std < float("inf"):
            raise InputError(f"std must be a finite number above 0, not {std!r}")
        super().__init__()
        self.std = std
        self.binarizer = binarizer

    def forward(self, logits: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the code of noisy logits: see `ComDefend.binarize`."""
        return self.binarizer(logits + self.std * torch.randn_like(logits), noise)

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"std={self.std:g}"


class RandomRate(nn.Module):
    """A binarizer that draws a rate for each image, and leaves the other maps of its code out.

    Args:
        config: Configuration of the purifier, with the rates to draw from.
        binarizer: Binarizer of the logits.

    Raises:
        InputError: There is only one rate.
    """

    random = True

    def __init__(self, config: PurifierConfig, binarizer: nn.Module) -> None:
        if not config.rates:
            raise InputError(f"these weights work at {config.bpp:g} bits per pixel only")
        super().__init__()
        self.config = config
        self.binarizer = binarizer

    def forward(self, logits: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the code with maps that are left out at 0: see `ComDefend.binarize`."""
        # A purifier `at` a lower rate has fewer maps.
        kept = drawn_maps(self.config, len(logits))[:, : logits.shape[1]].to(logits.device)
        return self.binarizer(logits.where(kept, torch.full_like(logits, -1.0)), noise)

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"bpps={self.config.bpps}"


def dithered(purifier: ComDefend, std: float) -> ComDefend:
    """Return a purifier that adds normal noise of this deviation to the logits, in use too."""
    return purifier.with_binarizer(Dither(std, purifier.binarizer))


def random_rate(purifier: ComDefend) -> ComDefend:
    """Return a purifier that draws one of its rates for each image."""
    return purifier.with_binarizer(RandomRate(purifier.config, purifier.binarizer))
