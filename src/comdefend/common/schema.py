"""Plain values into typed structures: every mistake is one line that names the place and the field.

Recipes, experiments, records and the metadata of weight files are `msgspec.Struct`s; this module
is where texts from outside become them.
"""

import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from comdefend.errors import DataMissingError, InputError

_T = TypeVar("_T")


def read_text(name: str) -> str:
    """Return the text of a file that a user named.

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


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds.

    Raises:
        InputError: It is no YAML, no mapping with names for keys, or holds a number that is not
            finite.
    """
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: not readable as YAML ({_one_line(error)})") from error
    return mapping(values, where)


def mapping(values: object, where: str) -> dict[str, Any]:
    """Return ``values`` as a dictionary with names for keys.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise InputError(f"{where}: must be a mapping of field to value")
    return dict(values)


def build(kind: type[_T], values: object, where: str) -> _T:
    """Make a structure of plain values, as YAML and JSON hold them.

    Numbers may be written as text: to YAML 1.1 ``4e-3`` is one.

    Args:
        kind: A `msgspec.Struct`, or any type that msgspec knows.
        values: Mappings, lists, texts, numbers, booleans and None.
        where: What messages begin with, such as the name of the file.

    Raises:
        InputError: A field is unknown, missing, of another type, or refused by its structure.
    """
    _refuse_infinite(values, where, "")
    try:
        return msgspec.convert(values, kind, strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError(f"{where}: {_explained(error, kind, values)}") from error


def decode_json(kind: type[_T], text: str | bytes, where: str) -> _T:
    """Make a structure of a JSON text.

    Raises:
        InputError: It is no JSON, or does not fit the structure.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InputError(f"{where}: {_explained(error, kind, None)}") from error


def to_plain(structure: object) -> Any:
    """Return a structure as plain JSON types."""
    return msgspec.json.decode(msgspec.json.encode(structure))


def check_positive(structure: object, *names: str) -> None:
    """Check that fields of a structure are above zero.

    Raises:
        InputError: One is not.
    """
    for name in names:
        if not getattr(structure, name) > 0:
            raise InputError(f"{name} must be a positive number: {getattr(structure, name)!r}")


def check_not_negative(structure: object, *names: str) -> None:
    """Check that fields of a structure are not below zero.

    Raises:
        InputError: One is.
    """
    for name in names:
        if not getattr(structure, name) >= 0:
            raise InputError(f"{name} must not be negative: {getattr(structure, name)!r}")


_WORDS = {
    "Expected 'array'": "must be a list",
    "Expected 'object'": "must be a mapping",
    "Expected": "must be",
    ", got 'array'": ", not a list",
    ", got 'object'": ", not a mapping",
    ", got": ", not",
    "Invalid value": "unknown:",
}
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)


def _explained(error: Exception, kind: Any, values: object) -> str:
    """Return msgspec's message in our form: the field first, then what is wrong with it."""
    match = _PLACE.match(_one_line(error))
    assert match is not None
    what, path = match["what"].replace("`", "'"), match["path"] or ""
    for theirs, ours in _WORDS.items():
        what = what.replace(theirs, ours)
    if unknown := re.fullmatch(r"Object contains unknown field '(.*)'", what):
        what = f"unknown field '{unknown[1]}'; known: {', '.join(_known(kind, values, path))}"
    elif missing := re.fullmatch(r"Object missing required field '(.*)'", what):
        what = f"needs '{missing[1]}'"
    return f"{path}: {what}" if path else what


def _known(kind: Any, values: object, path: str) -> list[str]:
    """Return the fields of the structure at a path such as ``defenses[0].network``."""
    for part in re.findall(r"[A-Za-z_]\w*|\[\d*", path):
        if part.startswith("["):
            kind = next(iter(typing.get_args(kind)), object)
            values = values[int(part[1:])] if isinstance(values, Sequence) and part[1:] else None
        elif (struct := _struct(kind, values)) is not None:
            kind = {f.encode_name: f.type for f in msgspec.structs.fields(struct)}.get(part)
            values = values.get(part) if isinstance(values, Mapping) else None
    struct = _struct(kind, values)
    return [] if struct is None else [field.encode_name for field in msgspec.structs.fields(struct)]


def _struct(kind: Any, values: object) -> type[msgspec.Struct] | None:
    """Return the structure of a type; of a union, the member whose tag matches the values."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return None
    structs = [s for part in typing.get_args(kind) if (s := _struct(part, values)) is not None]
    for struct in structs:
        config = struct.__struct_config__
        if isinstance(values, Mapping) and values.get(config.tag_field) == config.tag:
            return struct
    return structs[0] if len(structs) == 1 else None


def _refuse_infinite(values: object, where: str, path: str) -> None:
    if isinstance(values, float) and not math.isfinite(values):
        raise InputError(f"{where}: {path}: must be a finite number, not {values}")
    items: Any = ()
    if isinstance(values, Mapping):
        items = ((f"{path}.{key}" if path else str(key), value) for key, value in values.items())
    elif isinstance(values, list | tuple):
        items = ((f"{path}[{index}]", value) for index, value in enumerate(values))
    for inner, value in items:
        _refuse_infinite(value, where, inner)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
