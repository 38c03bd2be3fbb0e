"""Trials in turn: a few at once in threads, the others in order of arrival."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from comdefend.errors import ComdefendError, InputError

AT_ONCE = 2
"""So many trials run at once: more would share the same processor, each for longer."""

WAITING = 20
"""So many people may wait; whoever comes then is told to come back."""

_LOOK_EVERY_S = 0.3

Event = dict[str, Any]
Work = Callable[[Callable[[Event], None], Callable[[], bool]], None]
"""Called with a function to report by, and one that says whether nobody listens any more."""


class Turns:
    """Who runs and who waits; used from one event loop."""

    def __init__(self) -> None:
        self._ended = False
        self._running = 0
        self._arriving = 0
        self._waiting: list[object] = []

    @property
    def full(self) -> bool:
        """Whether nobody else may wait."""
        return self._arriving + len(self._waiting) >= WAITING

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Count somebody in whose photograph is on its way."""
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1

    def end(self) -> None:
        """Let nobody else begin, and stop those who run at their next step."""
        self._ended = True

    async def place(self) -> AsyncGenerator[int]:
        """Yield how many are before one, again and again; ends when it is one's turn.

        The turn is taken then, and `run` gives it back. Telling somebody who has left ends it too.

        Raises:
            InputError: The server ends.
        """
        ticket = object()
        self._waiting.append(ticket)
        try:
            while self._running >= AT_ONCE or self._waiting[0] is not ticket:
                yield self._waiting.index(ticket)
                await asyncio.sleep(_LOOK_EVERY_S)
                if self._ended:
                    raise InputError("the server ends")
            self._running += 1
        finally:
            self._waiting.remove(ticket)

    async def run(self, work: Work) -> AsyncGenerator[Event]:
        """Run work in a thread and yield what it reports; an error of ours as ``error``, last."""
        loop, listening = asyncio.get_running_loop(), True
        reports: asyncio.Queue[Any] = asyncio.Queue()
        end = object()

        def report(event: object) -> None:
            # After the server has ended, nobody listens.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(reports.put_nowait, event)

        def thread() -> None:
            try:
                work(report, lambda: self._ended or not listening)
            except ComdefendError as error:
                report({"error": str(error)})
            finally:
                report(end)
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._give_back)

        threading.Thread(target=thread).start()
        try:
            while (event := await reports.get()) is not end:
                yield event
        finally:
            listening = False

    def _give_back(self) -> None:
        self._running -= 1
