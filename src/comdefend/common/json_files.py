"""Structures as JSON files."""

from pathlib import Path
from typing import TypeVar

import msgspec

from comdefend.common.atomic import atomic_write
from comdefend.common.schema import decode_json, read_text

_T = TypeVar("_T")


def save_json(structure: msgspec.Struct, path: Path) -> None:
    """Write a structure as indented JSON, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    atomic_write(path, msgspec.json.format(msgspec.json.encode(structure), indent=1) + b"\n")


def load_json(kind: type[_T], path: Path) -> _T:
    """Read a structure that `save_json` wrote.

    Raises:
        DataMissingError: There is no such file.
        InputError: It is no JSON, or does not fit the structure.
    """
    return decode_json(kind, read_text(str(path)), str(path))
