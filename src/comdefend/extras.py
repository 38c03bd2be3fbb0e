"""Optional parts of the package, imported when asked for."""

import importlib
from typing import Any

from comdefend.errors import ExtraMissingError


def require(module: str, extra: str) -> Any:
    """Import ``module``, or say which extra holds it.

    Raises:
        ExtraMissingError: The module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ExtraMissingError(
            f"{module.partition('.')[0]} is not installed; run: pip install 'comdefend[{extra}]'"
        ) from error
