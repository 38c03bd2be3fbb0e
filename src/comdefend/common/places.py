"""Places to read and to write: paths of this machine, and addresses of others."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import BinaryIO

from comdefend.common.atomic import atomic_file, make_folder
from comdefend.common.remote import RemotePath, open_address

Place = Path | RemotePath

# Also chains of fsspec, such as simplecache::s3://bucket.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::.+)?://")


def place(given: "str | Place") -> Place:
    """Return a path, or the place that an address such as ``s3://bucket/folder`` names.

    Raises:
        InputError, ExtraMissingError, RemoteError: As for `open_address`.
    """
    if isinstance(given, RemotePath):
        return given
    if isinstance(given, Path) or not _ADDRESS.match(given):
        return Path(given)
    remote = open_address(given)
    # Of this machine after all: links are followed, and disks synced, as for any path.
    return Path(remote.path) if remote.protocol in ("file", "local") else remote


def real(of: Place) -> PurePath:
    """Return the path that two names of one place share: links are resolved."""
    # Unlike Path.resolve, realpath does not raise on links that lead in a circle.
    return of.pure if isinstance(of, RemotePath) else Path(os.path.realpath(of))


def exists(of: Place) -> bool:
    """Return whether a file, a folder or a link is there.

    Raises:
        RemoteError: It cannot be told.
    """
    return of.exists() if isinstance(of, RemotePath) else os.path.lexists(of)


def already_in(folder: Place) -> Callable[[Place], bool]:
    """Return what tells whether a file below a folder exists; a remote folder is listed once.

    Raises:
        RemoteError: The folder cannot be listed.
    """
    if isinstance(folder, Path):
        return exists
    there = {file.pure for file, _ in folder.files()} if folder.exists() else set()
    return lambda of: real(of) in there


def check_folder(folder: Place) -> None:
    """Make a folder where there are folders, and check that it can be written to.

    Raises:
        InputError: An address that can only be read.
        OutputError: It cannot be made or written to.
    """
    if isinstance(folder, RemotePath):
        folder.check_writable()
    else:
        make_folder(folder)


@contextmanager
def whole_file(at: Place) -> Iterator[BinaryIO]:
    """Open a file that appears only once it is complete: see `atomic_file`."""
    with at.whole_file() if isinstance(at, RemotePath) else atomic_file(at) as file:
        yield file
