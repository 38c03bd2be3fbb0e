"""Statistics of the binary code: how far logits lie from the threshold, which bits flip."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from comdefend.evaluation.findings import Code, Flip
from comdefend.nn.batches import apply
from comdefend.nn.purifier import ComDefend

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


class _Logits(nn.Module):
    """The logits of a purifier's code."""

    def __init__(self, purifier: ComDefend) -> None:
        super().__init__()
        self.purifier = purifier

    def forward(self, images: Tensor) -> Tensor:
        return self.purifier.logits(images)


def code_statistics(
    purifier: ComDefend,
    images: Tensor,
    changed: list[tuple[str, float, Tensor]],
    purify: Callable[[Tensor], Tensor] | None = None,
) -> Code:
    """Return the distribution of |z|, and what changing the images does to the code.

    Args:
        purifier: In evaluation mode.
        images: (N, C, H, W) in [0, 1].
        changed: Name, bound in units of 1/255, and changed versions of the first images.
        purify: Images to purified images; `apply` by default.
    """
    purify = purify or partial(apply, purifier)
    logits = apply(_Logits(purifier), images)
    distance = logits.abs().flatten().numpy()
    purified = purify(images)
    flips = []
    for name, eps, others in changed:
        given = others - images[: len(others)]
        if not given.any():
            continue
        before = purified[: len(others)]
        flipped = (apply(_Logits(purifier), others) > 0) != (logits[: len(others)] > 0)
        moved = purify(others) - before
        flips.append(
            Flip(
                change=name,
                eps=eps,
                share=flipped.float().mean().item(),
                passed_on=(moved.norm() / given.norm()).item(),
                kept=((moved * given).sum() / given.square().sum()).item(),
            )
        )
    return Code(
        ones=(logits > 0).float().mean().item(),
        abs_z_mean=float(distance.mean()),
        quantiles=QUANTILES,
        abs_z_quantiles=tuple(float(q) for q in np.quantile(distance, QUANTILES)),
        flips=tuple(flips),
    )


def random_signs(images: Tensor, eps: float, seed: int) -> Tensor:
    """Return images with every value moved up or down by eps at random.

    As large as a perturbation within eps can be, and aimed at nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, images.shape, generator=generator) * 2 - 1
    return (images + signs * eps / 255).clamp(0, 1)
