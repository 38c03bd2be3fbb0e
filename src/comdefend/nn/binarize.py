"""From real-valued logits to a binary code: noisy and soft in training, hard in use."""

import torch
from torch import Tensor, nn

from comdefend.nn.config import PurifierConfig
from comdefend.nn.gradient import straight_through


def noisy_sigmoid(logits: Tensor, noise: Tensor) -> Tensor:
    """Return the training code sigmoid(z - n), in (0, 1) (Jia et al. 2019, Section 3.3).

    The noise is much wider than the sigmoid's slope, so a logit carries a bit through only if it
    lies far from 0. Minimising the reconstruction error therefore pushes |z| outwards, and the code
    becomes binary by itself.

    Args:
        logits: z, any shape.
        noise: n ~ N(0, phi^2), of the same shape.
    """
    return torch.sigmoid(logits - noise)


def noisy_threshold(logits: Tensor, noise: Tensor) -> Tensor:
    """Return a hard training code, 1 where z > n, with the gradient of `noisy_sigmoid`.

    The decoder then learns from the code that it will see in use. A soft code tells it more than
    bits can, until training has pushed all |z| far from 0.

    Args:
        logits: z, any shape.
        noise: n, of the same shape.
    """
    soft = noisy_sigmoid(logits, noise)
    return straight_through(soft, (soft > 0.5).to(soft.dtype))


def threshold(logits: Tensor) -> Tensor:
    """Return the hard code, 1 where z > 0 and else 0, with a straight-through gradient.

    Backwards the threshold counts as the identity (Bengio et al. 2013; BPDA, Athalye et al. 2018),
    so a gradient attack through a purifier is an adaptive attack.

    Args:
        logits: z, any shape, finite.
    """
    code = (logits > 0).to(logits.dtype)
    return straight_through(logits, code)


class Threshold(nn.Module):
    """The paper's binarizer: `noisy_sigmoid` in training mode, `threshold` in evaluation mode.

    Args:
        phi: Standard deviation of the training noise.
    """

    def __init__(self, phi: float) -> None:
        super().__init__()
        self.phi = phi

    def forward(self, logits: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the code.

        Args:
            logits: z, (N, K, h, w).
            noise: Standard normal, of the same shape, scaled by phi here; by default it is drawn.
                Evaluation mode has none.
        """
        if not self.training:
            return self.hard(logits)
        noise = torch.randn_like(logits) if noise is None else noise
        return noisy_sigmoid(logits, self.phi * noise)

    def hard(self, logits: Tensor) -> Tensor:
        """Return the code of evaluation mode."""
        return threshold(logits)

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"phi={self.phi:g}"


class Unthresholded(nn.Module):
    """No binarizer: the code is the sigmoid of the logits, in any mode and without noise.

    A control, to measure what the threshold gives and costs.
    """

    def forward(self, logits: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the code, in (0, 1); it takes no noise."""
        return torch.sigmoid(logits)


def drawn_maps(
    config: PurifierConfig, count: int, generator: torch.Generator | None = None
) -> Tensor:
    """Draw a rate for each image, all with equal probability, and return the maps that it keeps.

    Args:
        config: Configuration with the rates to draw from.
        count: Number N of images.
        generator: Source of random numbers; by default torch's global one.

    Returns:
        (N, K, 1, 1) bool, true for maps that are kept.
    """
    maps = torch.tensor((*config.rates, config.code_maps))
    drawn = maps[torch.randint(len(maps), (count, 1), generator=generator)]
    return (torch.arange(config.code_maps) < drawn).unsqueeze(-1).unsqueeze(-1)
