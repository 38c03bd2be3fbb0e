"""A user's own attack, from any callable."""

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from comdefend.attacks.attack import Attack, Budget
from comdefend.errors import ComdefendError, InputError, InputTypeError, one_line
from comdefend.nn.batches import fingerprint

# For float32: eps / 255 may be computed in another order.
_TOLERANCE = 1e-5

Attacker = Callable[[nn.Module, Tensor, Tensor, float], Tensor]
"""(model, images, labels, eps) -> images, with eps in units of 1/255."""


def from_callable(function: Attacker, name: str | None = None) -> Attack:
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
        fingerprint=_fingerprint(function),
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


def _fingerprint(function: Any) -> str:
    """Return a hash of all that a function's results depend on, as far as Python can tell.

    Its source, that of the functions of its own module that it calls, what it has closed over or is
    bound to, and the weights of modules among these. An object that cannot be described counts as
    new in every process: to repeat an attack is better than to take another attack's results.
    """
    text = "\n".join(_described(function, {}))
    return hashlib.sha256(text.encode()).hexdigest()


def _described(value: Any, seen: dict[int, Any]) -> Iterator[str]:
    if isinstance(value, str | bytes | int | float | complex | None):
        yield repr(value)
        return
    if id(value) in seen:
        return
    seen[id(value)] = value
    parts: list[Any] = []
    if isinstance(value, nn.Module):
        yield fingerprint(value) + _source(type(value))
    elif isinstance(value, Tensor):
        parts = [value.detach().cpu().numpy()]
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    elif isinstance(value, list | tuple | dict):
        yield type(value).__name__
        parts = [*value.items()] if isinstance(value, dict) else [*value]
    elif isinstance(value, functools.partial):
        parts = [value.func, value.args, value.keywords]
    elif inspect.ismethod(value):
        yield value.__name__
        parts = [value.__func__, value.__self__]
    elif inspect.isfunction(value):
        yield f"{value.__module__}.{value.__qualname__} {_source(value)}"
        used = inspect.getclosurevars(value)
        parts = [value.__defaults__, value.__kwdefaults__, dict(used.nonlocals)]
        parts += [v for v in used.globals.values() if _is_own(v, value.__module__)]
    elif inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value):
        yield getattr(value, "__qualname__", value.__name__)
    elif hasattr(value, "__dict__"):
        yield f"{type(value).__qualname__} {_source(type(value))}"
        parts = [vars(value)]
    else:
        yield repr(value)
    for part in parts:
        yield from _described(part, seen)


def _is_own(value: Any, module: str) -> bool:
    """Whether what a global name holds is the module's own; imported code has a version."""
    return not inspect.ismodule(value) and getattr(value, "__module__", module) == module


def _source(code: Any) -> str:
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        # Typed at a prompt, or compiled.
        return repr(getattr(code, "__code__", code))
