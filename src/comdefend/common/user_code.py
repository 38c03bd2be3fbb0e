"""A user's own code by its name, ``package.module:function``."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from torch import nn

from comdefend.errors import ComdefendError, InputError, InputTypeError, one_line

_SPEC = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_user_spec(spec: str) -> bool:
    """Return whether a name has the form ``package.module:function``."""
    return _SPEC.fullmatch(spec) is not None


def load_object(spec: str) -> Any:
    """Import what ``package.module:name`` names.

    The current directory is importable, as for ``python -m``. This runs the module's code.

    Raises:
        InputError: Another form, the import fails, or the module has no such name.
    """
    if not is_user_spec(spec):
        raise InputError(f"'{spec}' is not of the form package.module:function")
    module_name, _, name = spec.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    # A user's code may raise anything; the message says where, the cause stays attached.
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise InputError(f"{spec}: importing {module_name} failed: {one_line(error)}") from error
    if not hasattr(module, name):
        raise InputError(f"{spec}: {module_name} has no '{name}'")
    return getattr(module, name)


def load_module(spec: str) -> nn.Module:
    """Return a user's own network, in whatever mode it is.

    Args:
        spec: ``package.module:name`` of an ``nn.Module``, or of what returns one when it is called
            without arguments.

    Raises:
        InputError: As for `load_object`; or it is not callable, or the call fails.
        InputTypeError: The call returns something else.
    """
    found = load_object(spec)
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise InputError(f"{spec}: must be a function or an nn.Module, not {type(found).__name__}")
    try:
        made = found()
    except ComdefendError:
        raise
    except Exception as error:
        raise InputError(
            f"{spec}: calling it without arguments failed: {one_line(error)}"
        ) from error
    if not isinstance(made, nn.Module):
        raise InputTypeError(f"{spec}: must return an nn.Module, not {type(made).__name__}")
    return made
