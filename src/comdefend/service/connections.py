"""Connections that slow or silent clients cannot hold."""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from comdefend.service.refusals import error_body

MOST = 500
"""Most connections at once; a process may usually open 1024 files."""

HEADER_SECONDS = 10.0
"""Time for the headers of a request, however many bytes arrive meanwhile; or less if the service
gives less for a whole request."""

KEEP_ALIVE_SECONDS = 5
"""Time between two requests."""


class Connection(H11Protocol):
    """uvicorn's connection, with the deadlines that it lacks.

    Attributes:
        seconds: Time for a client to take its answer.
    """

    seconds: float

    _deadline: asyncio.TimerHandle | None = None
    _answer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or refuse where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; try again later")
            return
        self._deadline = self.loop.call_later(self._header_seconds, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, with all timers."""
        super().connection_lost(exc)
        # uvicorn leaves it after a reset, and with it all that the connection holds.
        self._unset_keepalive_if_required()
        self._deadline = _cancelled(self._deadline)
        self._answer = _cancelled(self._answer)

    def data_received(self, data: bytes) -> None:
        """Take bytes, and watch the clock while they make no request."""
        super().data_received(data)
        # Between two requests are headers that are not whole yet, and the rest of a body that the
        # answer did not wait for.
        if self.cycle is not None and not self.cycle.response_complete:
            self._deadline = _cancelled(self._deadline)
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self._header_seconds, self._too_slow)

    def pause_writing(self) -> None:
        """Wait for the client to take its answer, but not for ever."""
        super().pause_writing()
        if self._answer is None:
            self._answer = self.loop.call_later(self.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._answer = _cancelled(self._answer)

    def timeout_keep_alive_handler(self) -> None:
        """End a connection without a request, even if its last answer is never taken."""
        super().timeout_keep_alive_handler()
        if self._answer is None:
            self._answer = self.loop.call_later(self.seconds, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    @property
    def _header_seconds(self) -> float:
        return min(HEADER_SECONDS, self.seconds)

    def _too_slow(self) -> None:
        self._deadline = None
        message = f"the headers did not arrive within {self._header_seconds:g} s"
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, message)

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer without looking at the request, and close."""
        if self.transport.is_closing():
            return
        body = error_body(status, message)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        # Within an answer another one would be taken for a part of it.
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(head.encode() + body)
        self.transport.close()
        self._answer = self._answer or self.loop.call_later(self.seconds, self.transport.abort)


def connection_within(seconds: float) -> type[Connection]:
    """Return the connections of a service that gives clients so many seconds."""
    return type("Connection", (Connection,), {"seconds": seconds})


def _cancelled(timer: asyncio.TimerHandle | None) -> Any:
    if timer is not None:
        timer.cancel()
