"""Serving the page, on this machine alone unless asked otherwise."""

import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from comdefend.app.choices import CLASSIFIERS, opened_classifier
from comdefend.app.photograph import MAX_MEGAPIXELS
from comdefend.app.site import build_site
from comdefend.app.turns import Turns
from comdefend.data.image_files import quiet_decoders
from comdefend.errors import InputError

_LAST_WORDS_S = 10


def serve(host: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve the page until the process is interrupted or asked to end.

    Args:
        host: The address to listen at.
        port: The port; 0 for any that is free.
        tell: Told the page's address, once it is there.

    Raises:
        InputError: Nothing can listen there.
    """
    with _listen(host, port) as listening, quiet_decoders(MAX_MEGAPIXELS * 1e6):
        opened_classifier(next(iter(CLASSIFIERS)))
        turns = Turns()
        settings = uvicorn.Config(
            build_site(host, turns), log_level="warning", timeout_graceful_shutdown=_LAST_WORDS_S
        )
        shown = f"[{host}]" if ":" in host else host
        tell(f"http://{shown}:{listening.getsockname()[1]}")
        # Ctrl-C is how it ends.
        with suppress(KeyboardInterrupt):
            _Server(settings, turns).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Stops trials as soon as it is asked to end, so that their pages hear of it."""

    def __init__(self, settings: uvicorn.Config, turns: Turns) -> None:
        super().__init__(settings)
        self._turns = turns

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self._turns.end()
        super().handle_exit(sig, frame)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise InputError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}; --host and --port "
            "name another place"
        ) from error
