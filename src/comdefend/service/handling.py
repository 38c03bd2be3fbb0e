"""What becomes of a request with an image: read, admitted, decoded, computed, answered."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from comdefend.errors import ImageError
from comdefend.service import images
from comdefend.service.admission import Admission
from comdefend.service.batcher import Batcher, Job
from comdefend.service.classification import Classification, as_json
from comdefend.service.refusals import RequestError
from comdefend.service.settings import Settings

_THREADS = 4
"""Most threads that decode and encode; the engine needs most of the cores."""

_T = TypeVar("_T")
Answered = tuple[bytes, str, tuple[str, ...]]
"""Body, media type, and notes on metadata that is left behind."""


class Handling:
    """Purifies and classifies the bodies of requests.

    Args:
        settings: The limits.
        admission: How much is taken on at once.
        batcher: What computes.
        channels: Of the images that the purifier takes.
        classification: The classifier, if there is one.
    """

    def __init__(
        self,
        settings: Settings,
        admission: Admission,
        batcher: Batcher,
        channels: int,
        classification: Classification | None = None,
    ) -> None:
        self._settings, self._admission, self._batcher = settings, admission, batcher
        self._channels, self._classification = channels, classification
        threads = min(_THREADS, 1 + (os.cpu_count() or 1))
        self._threads = ThreadPoolExecutor(threads, "comdefend-images")
        self._tasks: set[asyncio.Task[Answered]] = set()

    @property
    def classifies(self) -> bool:
        """Whether there is a classifier."""
        return self._classification is not None

    async def purify(self, body: bytes, format: str) -> Answered:
        """Return a purified image in a format.

        Raises:
            RequestError: See `RequestError`.
        """

        def begin() -> Job:
            read = images.decode(body, self._settings.max_pixels)
            return Job(canvas=images.canvas(read, self._channels, format))

        def end(job: Job, result: None) -> Answered:
            assert job.canvas is not None
            data, notes = images.encode(job.canvas.image, format)
            return data, images.MEDIA_TYPES[format], notes

        return await self._answered(body, begin, end)

    async def classify(self, body: bytes) -> Answered:
        """Return what the classifier says, as JSON.

        Raises:
            RequestError: See `RequestError`.
        """
        classification = self._classification
        assert classification is not None

        def begin() -> Job:
            read = images.decode(body, self._settings.max_pixels)
            try:
                pixels = classification.prepared(read, self._batcher.pixels_at_once)
            except ImageError as error:
                raise images.refusal(error) from error
            return Job(pixels=pixels)

        return await self._answered(
            body, begin, lambda job, answer: (as_json(answer), "application/json", ())
        )

    def close(self) -> None:
        """End its threads, after what they do."""
        self._threads.shutdown()

    async def _answered(
        self, body: bytes, begin: Callable[[], Job], end: Callable[[Job, Any], Answered]
    ) -> Answered:
        """Do the work, and wait for it as long as a client may have to."""
        work = _Work()
        task = asyncio.create_task(self._done(work, body, begin, end))
        self._tasks.add(task)
        task.add_done_callback(self._over)
        seconds = self._settings.seconds
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return task.result()
        # It goes on where it cannot be stopped, and what it holds is free when it ends.
        work.given_up = True
        if work.job is None or work.job.result.cancel():
            message = f"busy: its turn did not come within {seconds:g} s; try again later"
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, message, retry=True)
        raise RequestError(
            HTTPStatus.GATEWAY_TIMEOUT, f"computing it takes longer than {seconds:g} s"
        )

    async def _done(
        self,
        work: "_Work",
        body: bytes,
        begin: Callable[[], Job],
        end: Callable[[Job, Any], Answered],
    ) -> Answered:
        check = partial(images.check_pixels, body, self._settings.max_pixels)
        with self._admission.image(await self._in_thread(check)):
            work.job = job = await self._in_thread(begin)
            if work.given_up:
                raise asyncio.CancelledError
            self._batcher.submit(job)
            try:
                result = await asyncio.wrap_future(job.result)
            except ImageError as error:
                raise images.refusal(error) from error
            return await self._in_thread(partial(end, job, result))

    def _over(self, task: asyncio.Task[Answered]) -> None:
        self._tasks.discard(task)
        # Nobody may wait for it any more; asyncio would complain.
        if not task.cancelled():
            task.exception()

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)


class _Work:
    """A request that is worked on: its job, once it is decoded, and whether nobody waits for it."""

    job: Job | None = None
    given_up = False
