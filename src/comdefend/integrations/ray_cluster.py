"""Connected to a Ray cluster, with one line for whatever goes wrong there."""

import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from comdefend.common.extras import require
from comdefend.errors import ComdefendError, InputError, RemoteError, one_line

_SECONDS = 10
"""A cluster that does not answer in this time is none."""

CHECKED_SECONDS = 2
"""How often whoever waits for a cluster looks whether it still answers."""

_PATIENCE = 40
"""So many seconds a head may be away, to be started anew; after 60, Ray would end this process."""

_LOST = "the head of the cluster is lost"

_ADDRESS = re.compile(r"(ray://)?[\w.-]+:\d+|auto|local")


def check_cluster(address: str) -> None:
    """Check that Ray is installed and that somebody listens; Ray itself would try for a minute.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT``, ``auto`` or ``local``.

    Raises:
        ExtraMissingError: Ray is not installed.
        InputError: The address has another form.
        RemoteError: Nobody listens there.
    """
    if not _ADDRESS.fullmatch(address):
        raise InputError(
            f"a Ray cluster is HOST:PORT, ray://HOST:PORT, auto or local, not '{address}'"
        )
    require("ray", "ray")
    if ":" in address and (reason := _silent(address)):
        raise RemoteError(f"Ray at {address}: no cluster answers ({reason})")


@contextmanager
def cluster(address: str) -> Iterator[Callable[[], None]]:
    """Be connected to a cluster, with one line where that fails or ends.

    Yields:
        What raises a RemoteError once the head of the cluster is lost; to be called every few
        seconds, since Ray only waits for its return.

    Raises:
        ExtraMissingError, InputError, RemoteError: As for `check_cluster`, or an error in the block
            is one of Ray.
        ComdefendError: Any that was raised on another machine.
    """
    check_cluster(address)
    ray: Any = require("ray", "ray")
    # Ray reports its use over the network unless told otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        head = _connected(ray, address)
        yield _Watch(address, head)
    except ray.exceptions.RayTaskError as error:
        # It is an instance of its cause's class, too, but its text is a traceback.
        if isinstance(error.cause, ComdefendError):
            raise error.cause from None
        raise RemoteError(f"Ray at {address}: {one_line(error.cause)}") from error
    except ComdefendError:
        raise
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError) as error:
        reason = _LOST if _silent(head) else _last_line(error)
        raise RemoteError(f"Ray at {address}: {reason}") from error
    finally:
        ray.shutdown()


def _connected(ray: Any, address: str) -> str:
    """Connect, and return the address of the cluster's head.

    Raises:
        RemoteError: That fails; Ray raises anything.
    """
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        if address.startswith("ray://"):
            return address
        return str(ray.get_runtime_context().gcs_address)
    except Exception as error:
        raise RemoteError(f"Ray at {address}: {_last_line(error)}") from error


class _Watch:
    """Raises once the head of a cluster has not answered for long."""

    def __init__(self, address: str, head: str) -> None:
        self._address, self._head = address, head
        self._answered = time.monotonic()

    def __call__(self) -> None:
        if _silent(self._head) is None:
            self._answered = time.monotonic()
        elif time.monotonic() - self._answered > _PATIENCE:
            raise RemoteError(f"Ray at {self._address}: {_LOST}")


def _silent(address: str) -> str | None:
    """Return why nobody can be reached; None where somebody listens."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        socket.create_connection((str(parts.hostname), parts.port or 0), _SECONDS).close()
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _last_line(error: BaseException) -> str:
    """Return what an error comes down to: Ray's may hold a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
