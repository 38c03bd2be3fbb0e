"""Muon, for convolutions."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates, so that a step moves all directions of a layer alike.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". A purifier is
    eighteen convolutions without shortcuts or normalisation, in which gradients shrink or grow from
    layer to layer. Orthogonalised updates keep the layers in step with each other.

    Filters are matrices of (outputs, everything else) here, and computed in their own precision.
    ``torch.optim.Muon`` takes matrices only (torch 2.15). ``timm.optim.Muon`` (1.0.31) learns
    equally well: over three seeds each of a purifier and a classifier the two loss curves differ by
    less than the seeds do. But it always computes in bfloat16, which processors without bfloat16
    units emulate: with AVX2 a step of the optimiser takes 1.9 s instead of 0.09 s for `rgb-12bpp`,
    and 3.3 s instead of 0.14 s for `cifar10-small`.

    Args:
        params: Weights of at least two dimensions, or groups of them.
        lr: Learning rate: the spectral norm of an update.
        momentum: Decay of the gradient's moving average (Nesterov).
        weight_decay: Share of a weight that a step subtracts, before the factor ``lr``.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all weights once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                average = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                average.lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(average, group["momentum"]).flatten(1)
                rows, columns = update.shape
                scale = math.sqrt(max(1.0, rows / columns))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(orthogonalize(update).view_as(weight), alpha=-group["lr"] * scale)
        return loss


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """Return roughly the nearest matrix with orthonormal rows or columns.

    Newton-Schulz iteration with Jordan's quintic, which brings singular values to between about 0.7
    and 1.2 in five steps.

    Args:
        matrix: (rows, columns).
        steps: Iterations.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-12)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
