"""Around every request: who may ask, how it arrives, and errors as JSON."""

import asyncio
import hmac
import ipaddress
import logging
import time
import traceback
from http import HTTPStatus
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from comdefend.errors import one_line
from comdefend.service.admission import Held
from comdefend.service.metrics import Metrics
from comdefend.service.refusals import RequestError, error_response
from comdefend.service.settings import Settings

OPEN = ("/", "/healthz", "/openapi.json")
"""What needs no token: it says nothing about what others send."""

_KNOWN = (*OPEN, "/purify", "/classify", "/metrics")
_EXPECTS = (b"expect", b"100-continue")
# What a refused client still sends is read for so long, or it would not see why it is refused.
_LINGER_SECONDS, _LINGER_BYTES = 2.0, 64_000_000

# As many as any size of a body may have.
_DIGITS = 18

_log = logging.getLogger(__name__)


class Guard:
    """A layer of ASGI around an application.

    Args:
        app: What is guarded. It may raise `RequestError`.
        settings: Token and limits.
        metrics: Told of every request.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in _KNOWN else "other"
        began, status = time.perf_counter(), 0

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
            await send(message)

        incoming = Incoming(receive)
        try:
            self._check(scope)
            await self._app(scope, incoming, told)
        except Exception as error:
            if status:
                raise
            refused = error if isinstance(error, RequestError) else _failed(error)
            expects = _EXPECTS in scope["headers"]
            if refused.status != HTTPStatus.REQUEST_TIMEOUT and not expects:
                await incoming.linger()
            await error_response(refused, not incoming.ended)(scope, receive, told)
        finally:
            if status:
                self._metrics.requests.labels(path, status).inc()
                self._metrics.seconds.labels(path).observe(time.perf_counter() - began)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        if not self._settings.token:
            # Else a page in a browser, under a name that leads here, could read what we answer.
            if not _is_local(headers.get(b"host", b"").decode("latin-1")):
                raise RequestError(
                    HTTPStatus.MISDIRECTED_REQUEST, "this server is for localhost alone"
                )
        elif scope["path"] not in OPEN:
            kind, _, token = headers.get(b"authorization", b"").partition(b" ")
            known = hmac.compare_digest(token.strip(), self._settings.token.encode())
            if kind.lower() != b"bearer" or not known:
                raise RequestError(
                    HTTPStatus.UNAUTHORIZED, "send the header Authorization: Bearer TOKEN"
                )


class Incoming:
    """The messages of a request; ``ended`` once its body is there, or its client gone."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def __call__(self) -> Message:
        """Return the next message."""
        message = await self._receive()
        self.ended = not message.get("more_body", False)
        return message

    async def linger(self) -> None:
        """Read what still comes, for a while, and forget it."""
        left = _LINGER_BYTES
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while not self.ended and left > 0:
                    left -= len((await self()).get("body", b""))
        except TimeoutError:
            pass


async def read_body(scope: Scope, receive: Receive, settings: Settings, held: Held) -> bytes:
    """Return the body of a request.

    Raises:
        RequestError: It is too long, comes too slowly, or is a form; or the client is gone.
    """
    headers = dict(scope["headers"])
    if headers.get(b"content-type", b"").startswith(b"multipart/"):
        raise RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "send the image itself as the body, not a form (curl --data-binary @FILE)",
        )
    # The server below refuses what is no number; one of very many digits Python does not read.
    length = headers.get(b"content-length", b"0").lstrip(b"0")
    if len(length) > _DIGITS or int(length or b"0") > settings.max_bytes:
        raise _too_long(settings)
    body = bytearray()
    try:
        async with asyncio.timeout(settings.seconds):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestError(HTTPStatus.BAD_REQUEST, "the client is gone")
                part = message.get("body", b"")
                if len(body) + len(part) > settings.max_bytes:
                    raise _too_long(settings)
                held.add(len(part))
                body += part
                more = message.get("more_body", False)
    except TimeoutError:
        late = f"the request did not arrive within {settings.seconds:g} s"
        raise RequestError(HTTPStatus.REQUEST_TIMEOUT, late) from None
    return bytes(body)


def _too_long(settings: Settings) -> RequestError:
    return RequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body has more than {settings.max_bytes / 1e6:.4g} MB, the most that is taken",
    )


def _failed(error: Exception) -> RequestError:
    # Not what it says, which may hold what the client sent; that belongs into no log.
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    _log.error("a request failed: %s in %s", type(error).__name__, where)
    _log.debug("%s", one_line(error))
    return RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its log says where")


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
