"""YAML files into dataclasses: every mistake is one line that names the file and the field."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from comdefend.errors import DataMissingError, InputError

MAX_SEED = 2**32

_T = TypeVar("_T")


def read_text(name: str) -> str:
    """Return the text of a settings file that a user named.

    Raises:
        DataMissingError: There is no such file.
        InputError: It is not text.
    """
    path = Path(name)
    if not path.is_file():
        raise DataMissingError(f"{name}: no such file")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: not readable as text ({error})") from error


def parse(text: str, where: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds.

    Raises:
        InputError: It is no YAML, or no mapping.
    """
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: not readable as YAML ({_line(error)})") from error
    return mapping(values, where)


def mapping(values: object, where: str) -> dict[str, Any]:
    """Return ``values`` as a dictionary with names for keys.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise InputError(f"{where}: must be a mapping of field to value")
    return dict(values)


def build(kind: type[_T], values: Mapping[str, Any], where: str) -> _T:
    """Make a dataclass from a mapping.

    Raises:
        InputError: A field is unknown, missing, or refused by the dataclass.
    """
    fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - fields):
        raise InputError(f"{where}: unknown fields {unknown}; known: {sorted(fields)}")
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except TypeError as error:
        raise InputError(f"{where}: {error}".replace("__init__()", kind.__name__)) from error


def check_types(settings: Any) -> None:
    """Check the plain fields of a dataclass against their types, and its seed's range.

    Raises:
        InputError: A value is of another type, or the seed is out of range.
    """
    kinds = {
        "str": str, "int": int, "float": int | float, "bool": bool,
        "str | None": str | None, "int | None": int | None,
    }  # fmt: skip
    for field in dataclasses.fields(settings):
        value, name = (
            getattr(settings, field.name),
            getattr(field.type, "__name__", str(field.type)),
        )
        wanted = kinds.get(name)
        # To Python True is an integer; to a reader of settings it is not.
        mistaken = isinstance(value, bool) and name != "bool"
        if wanted and (mistaken or not isinstance(value, wanted)):
            raise InputError(f"{field.name} must be of type {name}, not {repr(value)[:80]}")
    if hasattr(settings, "seed") and not 0 <= settings.seed < MAX_SEED:
        raise InputError(f"seed must be from 0 to {MAX_SEED - 1}: {settings.seed}")


def check_positive(settings: object, *names: str) -> None:
    """Check that fields of a dataclass are above zero.

    Raises:
        InputError: One is not.
    """
    for name in names:
        if not getattr(settings, name) > 0:
            raise InputError(f"{name} must be a positive number: {getattr(settings, name)!r}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
