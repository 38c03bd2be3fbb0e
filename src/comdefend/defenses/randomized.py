"""Purifiers that draw at random in use.

An attacker averages over the draws (`comdefend.attacks.Expectation`), so what randomness seems to
add is measured against that.
"""

import torch
from torch import Tensor

from comdefend.errors import InputError
from comdefend.nn.binarize import drawn_maps
from comdefend.nn.purifier import ComDefend


class Dithered(ComDefend):
    """A purifier with normal noise on the logits before the threshold, in use too.

    Args:
        purifier: Whose weights it shares.
        std: Standard deviation, in units of the logits; above 0. Training's is ``config.phi``.

    Raises:
        InputError: ``std`` is not a finite number above 0.
    """

    random = True

    def __init__(self, purifier: ComDefend, std: float) -> None:
        if not 0 < std < float("inf"):
            raise InputError(f"std must be a finite number above 0, not {std!r}")
        super().__init__(purifier.config)
        _share(purifier, self)
        self.std = std

    def logits(self, images: Tensor) -> Tensor:
        """Return z with noise: see `ComDefend.logits`."""
        logits = super().logits(images)
        return logits + self.std * torch.randn_like(logits)

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"std={self.std:g}"


class RandomRate(ComDefend):
    """A purifier for several rates that draws one of them for every image.

    Args:
        purifier: Whose weights it shares.

    Raises:
        InputError: It has one rate only.
    """

    random = True

    def __init__(self, purifier: ComDefend) -> None:
        if not purifier.config.rates:
            raise InputError(f"these weights work at {purifier.config.bpp:g} bits a pixel alone")
        super().__init__(purifier.config)
        _share(purifier, self)

    def logits(self, images: Tensor) -> Tensor:
        """Return z, those of the maps that are left out below 0: see `ComDefend.logits`."""
        logits = super().logits(images)
        kept = drawn_maps(self.config, len(logits)).to(logits.device)
        return logits.where(kept, torch.full_like(logits, -1.0))


def _share(purifier: ComDefend, other: ComDefend) -> None:
    other.load_state_dict(purifier.state_dict(), assign=True)
    other.train(purifier.training)
