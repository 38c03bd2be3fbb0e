"""Writing files so that nobody ever finds half of one."""

import os
import tempfile
from pathlib import Path

from comdefend.errors import OutputError


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, that files can be written to.

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
    """Write a file whole or not at all, and make its folder where needed.

    The bytes go to a temporary file in the same folder, which then takes the place of ``path``.

    Raises:
        OutputError: The folder or the file cannot be written.
    """
    make_folder(path.parent)
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        # A temporary file is private; the final one follows the user's umask, as any other.
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
