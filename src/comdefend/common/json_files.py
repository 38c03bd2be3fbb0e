"""Structures as JSON files."""

from pathlib import Path
from typing import TypeVar

import msgspec

from comdefend.common.atomic import atomic_write
from comdefend.common.schema import decode_json, read_text
from comdefend.errors import DataMissingError, InputError

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


def load_versioned(kind: type[_T], path: Path, current: int, what: str, again: str) -> _T:
    """Read a structure with a field ``format``, which is looked at before everything else.

    Args:
        kind: The structure.
        path: Its file.
        current: The format that this version reads.
        what: What the file should be, for messages.
        again: What to do where it has another format.

    Raises:
        DataMissingError: There is no such file.
        InputError: It is no JSON, does not fit the structure, or has another format.
    """
    if not path.is_file():
        raise DataMissingError(f"{path}: no such record")
    text, where = read_text(str(path)), f"{path}: not {what}"
    if (found := decode_json(_Format, text, where).format) != current:
        raise InputError(
            f"{path}: a record of format {found}, this comdefend reads {current}; {again}"
        )
    return decode_json(kind, text, where)


class _Format(msgspec.Struct):
    format: int
