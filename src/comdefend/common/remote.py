"""Files at addresses that fsspec opens: object stores, servers, other machines."""

import errno
import io
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import PurePath, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from comdefend.common.extras import require
from comdefend.errors import (
    DataMissingError,
    ExtraMissingError,
    ImageError,
    InputError,
    OutputError,
    RemoteError,
    one_line,
)

_IN_MEMORY = 4 << 20
"""A file with more bytes than this waits on the disk until it is decoded."""

_LARGEST = 4 << 30
"""No format of images holds more bytes; a server can send without end."""

_PART = 1 << 20

_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "memory"})
"""Where an object appears once all of it has arrived; elsewhere it is renamed."""

_PASSWORD = re.compile(r"(?<=:)[^:/@]*(?=@)")


@dataclass(frozen=True)
class RemotePath:
    """A file or folder at an address, with as much of `pathlib.Path` as is needed here.

    Attributes:
        system: The file system of fsspec.
        path: The place as the file system names it.
        address: The place as users name it.
    """

    system: Any
    path: str
    address: str

    def __str__(self) -> str:
        return _PASSWORD.sub("***", self.address)

    def __truediv__(self, relative: PurePath) -> "RemotePath":
        """Return what lies below a folder; ``relative`` must not lead out of it."""
        parts = relative.as_posix()
        # Of a chain such as zip://folder::s3://bucket/x.zip, the first address goes on.
        links = self.address.split("::")
        first = next(n for n, link in enumerate(links) if "://" in link)
        links[first] = f"{links[first].rstrip('/')}/{parts}"
        path = f"{self.path.rstrip('/')}/{parts}" if self.path else parts
        return replace(self, path=path, address="::".join(links))

    @property
    def pure(self) -> PurePosixPath:
        """The place as a path that can be compared: its file system, then the place there."""
        return PurePosixPath(f"{hash(self.system):x}", *self._location.split("/"))

    @property
    def protocol(self) -> str:
        """Such as ``s3``."""
        names = self.system.protocol
        return names if isinstance(names, str) else names[0]

    @property
    def in_process(self) -> bool:
        """Whether this process alone has it."""
        return any(link.startswith("memory:") for link in self.address.split("::"))

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self._location).name

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return PurePosixPath(self._location).suffix

    @property
    def parent(self) -> "RemotePath":
        """The folder."""
        return replace(
            self, path=self.path.rpartition("/")[0], address=self.address.rpartition("/")[0]
        )

    @property
    def _location(self) -> str:
        """The path without what a web address has behind it, such as a signature."""
        return unquote(urlsplit(self.path).path) if self._is_web else self.path

    @property
    def _is_web(self) -> bool:
        return self.protocol in ("http", "https")

    def is_dir(self) -> bool:
        """Return whether this is a folder. A web address is one unless it ends in a suffix.

        Raises:
            RemoteError: It cannot be told.
        """
        if self._is_web:
            return self.address.endswith("/") or not self.suffix
        with self._reached():
            return bool(self.system.isdir(self.path))

    def exists(self) -> bool:
        """Return whether there is a file or folder.

        Raises:
            RemoteError: It cannot be told.
        """
        try:
            with self._reached():
                self.system.info(self.path)
        except DataMissingError:
            return False
        return True

    def files(
        self, on_error: Callable[[OSError], None] | None = None
    ) -> list[tuple["RemotePath", PurePosixPath]]:
        """Return all files below, sorted, each with its path relative to this one.

        Args:
            on_error: Called for each whose name would lead out of another folder, or has empty
                parts, as keys of object stores may.

        Raises:
            DataMissingError, RemoteError: It is not there, or cannot be listed.
        """
        with self._reached():
            # What another machine wrote since the last listing counts.
            self.system.invalidate_cache()
            found = self.system.find(self.path)
        below = []
        for path in sorted(found):
            file = replace(self, path=path, address=path) if self._is_web else None
            inside = (file._location if file else path).removeprefix(self._location)
            parts = inside.removeprefix("/").split("/")
            if parts[-1] == "" or inside == "":
                continue
            if {"", ".", ".."} & set(parts) or any("\\" in p or "\0" in p for p in parts):
                reason = "its name has parts that no folder can have"
                if on_error is not None:
                    bad = file or replace(self, path=path, address=f"{self.protocol}://{path}")
                    on_error(OSError(errno.EINVAL, reason, cast(Any, bad)))
                continue
            relative = PurePosixPath(*parts)
            below.append((file or self / relative, relative))
        return below

    def fetched(self) -> BinaryIO:
        """Return the bytes of a file in a temporary one, in memory while they are few.

        Raises:
            ImageError: They cannot be read; the message does not repeat the address.
        """
        file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        try:
            with self._reached(), self.system.open(self.path, "rb") as stream:
                while part := stream.read(_PART):
                    if file.tell() + len(part) > _LARGEST:
                        raise ImageError(f"has more than {_LARGEST >> 30} GiB")
                    file.write(part)
        except (DataMissingError, RemoteError) as error:
            file.close()
            raise ImageError(str(error).removeprefix(f"{self}: ")) from error
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return cast(BinaryIO, file)

    def check_writable(self) -> None:
        """Write an empty hidden file into this folder and remove it.

        Raises:
            InputError: A web address, which cannot be written to.
            OutputError: It cannot be written to; the message says why.
        """
        if self._is_web:
            raise InputError(f"{self}: web addresses can only be read")
        probe = self / PurePosixPath(_hidden())
        with _refused(self):
            self.system.pipe_file(probe.path, b"")
        # One that may write may still not be allowed to delete.
        with suppress(Exception):
            self.system.rm_file(probe.path)

    @contextmanager
    def whole_file(self) -> Iterator[BinaryIO]:
        """Open a file in memory that appears here once the block ends; see `atomic_file`.

        Raises:
            OutputError: It cannot be written.
        """
        file = io.BytesIO()
        yield file
        with _refused(self):
            if self.protocol in _WHOLE:
                self.system.pipe_file(self.path, file.getvalue())
            else:
                self._write_and_rename(file.getvalue())

    def _write_and_rename(self, data: bytes) -> None:
        temporary = self.parent / PurePosixPath(_hidden())
        try:
            self.system.makedirs(self.parent.path, exist_ok=True)
            self.system.pipe_file(temporary.path, data)
            self.system.mv(temporary.path, self.path)
        except BaseException:
            with suppress(Exception):
                self.system.rm_file(temporary.path)
            raise

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turn what a library for networks raises, which may be anything, into one line."""
        try:
            yield
        except (ImageError, MemoryError):
            raise
        except FileNotFoundError as error:
            raise DataMissingError(f"{self}: no such file or folder") from error
        except Exception as error:
            raise RemoteError(f"{self}: cannot be reached ({_reason(error)})") from error


def open_address(address: str) -> RemotePath:
    """Open an address such as ``s3://bucket/folder``.

    Raises:
        ExtraMissingError: The extra, or what fsspec needs for this protocol, is not installed.
        InputError: An unknown protocol, or an address that it does not take.
        RemoteError: The file system cannot be opened.
    """
    fsspec = require("fsspec", "remote")
    shown = _PASSWORD.sub("***", address)
    try:
        system, path = fsspec.url_to_fs(address)
    except ImportError as error:
        raise ExtraMissingError(
            f"{shown}: this protocol needs a package that is not installed: {error}"
        ) from error
    except ValueError as error:
        raise InputError(f"{shown}: {error}") from error
    except Exception as error:
        raise RemoteError(f"{shown}: cannot be reached ({_reason(error)})") from error
    return RemotePath(system, path, address)


@contextmanager
def _refused(place: RemotePath) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except NotImplementedError as error:
        raise OutputError(f"{place}: its protocol cannot write") from error
    except Exception as error:
        raise OutputError(f"{place}: cannot be written ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and (error.strerror or str(error)):
        return " ".join((error.strerror or str(error)).split())
    return one_line(error)


def _hidden() -> str:
    return f".comdefend-{secrets.token_hex(8)}"
