"""A service, from its weights to its end."""

import asyncio
import math
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
import uvicorn

from comdefend import zoo
from comdefend.classifiers import ClassifierSpec
from comdefend.common.defaults import RECOMMENDED
from comdefend.data.image_files import quiet_decoders
from comdefend.engines.opening import open_engine
from comdefend.errors import ServiceError
from comdefend.service.admission import Admission
from comdefend.service.app import Service
from comdefend.service.batcher import Batcher
from comdefend.service.classification import Classification
from comdefend.service.connections import KEEP_ALIVE_SECONDS, connection_within
from comdefend.service.handling import Handling
from comdefend.service.metrics import Metrics
from comdefend.service.settings import Settings

_GRACE = 0.5
"""So long requests are taken that were on their way when the service was told to stop."""

_WARM = 64
"""Side of the image that the engine computes before the first request, in pixels."""


def serve(
    settings: Settings,
    weights: str | Path = RECOMMENDED,
    *,
    classifier: ClassifierSpec | None = None,
    resize: int | None = None,
    crop: int | None = None,
    device: torch.device | str = "cpu",
    engine: str = "auto",
    precision: str = "auto",
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve until a signal says stop, and finish what was accepted before.

    Args:
        settings: Where it listens, for whom, and its limits.
        weights: As for `comdefend.load`.
        classifier: What classifies, if anything.
        resize, crop: As for `Classification`.
        device, engine, precision: As for `open_engine`.
        tell: Told what the classifier takes that was not given, where it listens, and that it
            stops.

    Raises:
        InputError, DataMissingError, ExtraMissingError, WeightsError: As for `open_engine` and
            `Classification`.
        ServiceError: It cannot listen there.
    """
    with ExitStack() as stack:
        # The process's own limits, for all threads that decode.
        stack.enter_context(quiet_decoders(settings.max_pixels))
        # Before anything that takes time to open.
        sockets = _bind(settings)
        for listener in sockets:
            stack.callback(listener.close)
        purifier = zoo.load(weights, device)
        opened = open_engine(purifier, engine, precision)
        channels = purifier.config.channels
        classification = None
        if classifier is not None:
            classification = Classification(classifier, channels, device, resize, crop, tell)
        # The first call of an engine takes longer.
        opened(torch.zeros(1, channels, _WARM, _WARM))
        metrics = Metrics()
        admission = Admission(settings, metrics)
        batcher = Batcher(opened, metrics, classification)
        stack.callback(batcher.stop)
        handling = Handling(settings, admission, batcher, channels, classification)
        stack.callback(handling.close)
        service = Service(settings, metrics, admission, batcher, handling)
        _run(service, settings, sockets, tell)


def _run(
    service: Service,
    settings: Settings,
    sockets: list[socket.socket],
    tell: Callable[[str], None],
) -> None:
    config = uvicorn.Config(
        service.app(),
        http=connection_within(settings.seconds),
        ws="none",
        proxy_headers=False,
        lifespan="off",
        access_log=False,
        log_level="error",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # A request may arrive, be answered, and be taken as slowly as at any other time.
        timeout_graceful_shutdown=math.ceil(3 * settings.seconds),
    )
    # uvicorn raises the signal again when it is done, which would end the process as if it failed.
    before = {kind: signal.signal(kind, _ignore) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        _Server(config, service, tell).run(sockets)
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _ignore(number: int, frame: object) -> None:
    pass


class _Server(uvicorn.Server):
    """uvicorn's server, which loses no request when it stops."""

    def __init__(
        self, config: uvicorn.Config, service: Service, tell: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._service, self._tell = service, tell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            self._tell(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections; answer what is there or on its way; then stop."""
        self._tell("stopping: finishing what was accepted")
        self._service.stopping = True
        # uvicorn closes connections that wait for a request, though one may be on its way. Each
        # answer from now on is the last of its connection.
        self.server_state.default_headers.append((b"connection", b"close"))
        for server in self.servers:
            server.close()
        await asyncio.sleep(_GRACE)
        await super().shutdown(sockets)


def _bind(settings: Settings) -> list[socket.socket]:
    """Return a socket for each address of the host, all on one port; none listens yet."""
    sockets: list[socket.socket] = []
    port = settings.port
    for address in settings.addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        bound = socket.socket(family)
        sockets.append(bound)
        try:
            if os.name == "posix":
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind((address, port))
        except OSError as error:
            for opened in sockets:
                opened.close()
            reason = error.strerror or error
            raise ServiceError(f"cannot listen on {address}, port {port} ({reason})") from error
        port = bound.getsockname()[1]
    return sockets
