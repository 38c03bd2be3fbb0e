"""A user's own attack, from any callable."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from comdefend.attacks.attack import Attack, Budget
from comdefend.errors import ComdefendError, InputError, InputTypeError, one_line
from comdefend.nn.described import described

# For float32: eps / 255 may be computed in another order.
_TOLERANCE = 1e-5

AttackFunction = Callable[[nn.Module, Tensor, Tensor, float], Tensor]
"""(model, images, labels, eps) -> images, with eps in units of 1/255."""


def from_callable(function: AttackFunction, name: str | None = None) -> Attack:
    """Return an attack that calls a function.

    Args:
        function: Called with the model (images in [0, 1] to logits), images (N, C, H, W) float in
            [0, 1], labels (N,) int64 and eps in units of 1/255. Returns images of the same shape
            in [0, 1] that differ from those given by at most eps / 255. Every run checks this.
        name: What tables and records call it; by default the function's own name.

    Raises:
        InputTypeError: ``function`` is not callable.
    """
    if not callable(function):
        raise InputTypeError(
            "an attack must be a callable (model, images, labels, eps) -> images, "
            f"not {type(function).__name__}"
        )
    named = name or str(getattr(function, "__name__", type(function).__name__))

    def run(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
        assert budget.eps is not None
        try:
            # A copy: the function may work in place.
            attacked = function(model, images.clone(), labels, budget.eps)
        except (ComdefendError, torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:
            raise InputError(f"attack {named} failed: {one_line(error)}") from error
        return _checked(named, attacked, images, budget)

    return Attack(
        name=named,
        title=named,
        norm="Linf",
        kind="gradient",
        about="a user's own",
        run=run,
        fingerprint=described(function),
    )


def _checked(name: str, attacked: Any, images: Tensor, budget: Budget) -> Tensor:
    if not isinstance(attacked, Tensor):
        raise InputTypeError(f"attack {name} must return a tensor, not {type(attacked).__name__}")
    if attacked.shape != images.shape or not attacked.is_floating_point():
        raise InputError(
            f"attack {name} must return float images of shape {tuple(images.shape)}, "
            f"not {attacked.dtype} of {tuple(attacked.shape)}"
        )
    attacked = attacked.detach().to(images)
    low, high = (value.item() for value in attacked.aminmax())
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise InputError(
            f"attack {name} must return images in [0, 1] without NaN, not {low:.4g} to {high:.4g}; "
            "eps is in units of 1/255"
        )
    if (change := (attacked - images).abs().max().item()) > budget.bound + _TOLERANCE:
        raise InputError(
            f"attack {name} changed a value by {change * 255:.4g}/255, more than eps "
            f"{budget.eps:g}; eps is in units of 1/255"
        )
    return attacked
