"""What the results of a user's object depend on, as a hash."""

import functools
import hashlib
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

from comdefend.nn.batches import fingerprint


def described(value: Any) -> str:
    """Return a hash of everything that the results of an object depend on, as far as Python tells.

    Of a function its source, that of the functions and classes of its own module that it uses, and
    what it has closed over or is bound to; of a module its weights, source and plain attributes,
    and those of its parts. An object that cannot be described counts as new in every process:
    repeating work is better than taking the results of something else.
    """
    return hashlib.sha256("\n".join(_described(value, {})).encode()).hexdigest()


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
        # Weights and buffers are in the fingerprint; a factor or a switch is a plain attribute.
        plain = {k: v for k, v in vars(value).items() if not k.startswith("_")}
        parts = [plain, *value.children()]
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
    elif inspect.isclass(value):
        yield f"{value.__module__}.{value.__qualname__} {_source(value)}"
    elif inspect.isroutine(value) or inspect.ismodule(value):
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
