"""Writing files atomically: readers see all of a file or none of it."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from comdefend.errors import OutputError


def make_folder(path: Path) -> None:
    """Make a folder and its parents, and check that it can be written to.

    Raises:
        OutputError: It cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made ({error.strerror or error})") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: cannot be written to")


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file atomically; its folder is made where needed.

    Raises:
        OutputError: The folder or the file cannot be written.
    """
    with atomic_file(path) as file:
        file.write(data)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears only once it is complete; its folder is made where needed.

    Until then it can be read back. The bytes go to a temporary file in the same folder, which is
    synced to disk and then renamed to ``path``. Where the block raises, nothing remains.

    Raises:
        OutputError: The folder or the file cannot be written.
    """
    make_folder(path.parent)
    temporary = path.parent / f".comdefend-{secrets.token_hex(8)}"
    try:
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # Errors without a number were raised by the block, not by the file system.
        if error.errno is None:
            raise
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
