"""From real-valued logits to a binary code: noisy and soft in training, hard in use."""

import torch
from torch import Tensor

from comdefend.nn.config import PurifierConfig
from comdefend.nn.gradient import straight_through


def noisy_sigmoid(logits: Tensor, noise: Tensor) -> Tensor:
    """Return the training code sigmoid(z - n), in (0, 1) (Jia et al. 2019, Section 3.3).

    With noise much wider than the sigmoid's slope, a logit carries a bit through only if it lies
    far from 0. Minimising the reconstruction error therefore pushes |z| outwards, and the code
    becomes binary by itself.

    Args:
        logits: z, any shape.
        noise: n ~ N(0, phi^2), of the same shape.
    """
    return torch.sigmoid(logits - noise)


def threshold(logits: Tensor) -> Tensor:
    """Return the code of use, 1 where z > 0 and else 0, with a straight-through gradient.

    Backwards the threshold counts as the identity (Bengio et al. 2013; BPDA, Athalye et al. 2018),
    so a gradient attack through a purifier is an adaptive attack without further arrangement.

    Args:
        logits: z, any shape, finite.
    """
    code = (logits > 0).to(logits.dtype)
    return straight_through(logits, code)


def drawn_maps(
    config: PurifierConfig, count: int, generator: torch.Generator | None = None
) -> Tensor:
    """Return which maps of the code are kept when each of several images draws a rate.

    Args:
        config: Whose rates to draw from, each as likely as another.
        count: Images N.
        generator: Where random numbers come from; torch's global one by default.

    Returns:
        (N, K, 1, 1) bool.
    """
    maps = torch.tensor((*config.rates, config.code_maps))
    drawn = maps[torch.randint(len(maps), (count, 1), generator=generator)]
    return (torch.arange(config.code_maps) < drawn).unsqueeze(-1).unsqueeze(-1)
