"""Dynamic batching: what waits is computed together, by one thread that owns the engine."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from comdefend.data.image import Bytes, ImageCanvas
from comdefend.engines.engine import Engine
from comdefend.errors import EngineError, ImageError, one_line
from comdefend.nn.config import PurifierConfig
from comdefend.purify.batches import Batches
from comdefend.purify.tiling import DEFAULT_TILE
from comdefend.service.metrics import Metrics

_BATCHES_AT_ONCE = 4
"""What waits is taken up to the pixels of so many batches, and grouped by its shape."""

_log = logging.getLogger(__name__)

Classify = Callable[[Callable[[Tensor], Tensor], Bytes], list[Any]]
"""A purifier and images, (N, C, H, W) uint8 -> an answer for each."""


@dataclass(eq=False)
class Job:
    """An image that is to be purified, or classified.

    Attributes:
        canvas: Purified in place.
        pixels: To classify: (1, C, H, W) uint8.
        result: None once the canvas is purified; or the answer of the classifier. It can be
            cancelled until its computation begins.
    """

    canvas: ImageCanvas | None = None
    pixels: Bytes | None = None
    result: Future[Any] = field(default_factory=Future)

    @property
    def area(self) -> int:
        """Its pixels."""
        shape = self.canvas.size if self.canvas else self.pixels.shape[-2:]  # type: ignore[union-attr]
        return shape[0] * shape[1]

    def purified(self, error: str) -> None:
        """Tell that the canvas is done, or why not."""
        if error:
            self.result.set_exception(ImageError(error))
        else:
            self.result.set_result(None)


class Batcher:
    """Computes jobs in the order in which they come, as many at once as wait.

    It never waits for more: while one round is computed, the next one gathers.

    Args:
        purifier: Only the thread of the batcher calls it.
        metrics: Told of every batch.
        classify: Answers for jobs that are to be classified.
    """

    def __init__(
        self, purifier: Engine, metrics: Metrics, classify: Classify | None = None
    ) -> None:
        self._purifier = _Counted(purifier, metrics)
        self._classify = classify
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self.pixels_at_once = Batches(purifier, DEFAULT_TILE).pixels_at_once
        # A daemon, so that a process whose shutdown fails elsewhere still ends.
        self._thread = threading.Thread(target=self._run, name="comdefend-engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still computes."""
        return self._thread.is_alive()

    def submit(self, job: Job) -> None:
        """Take a job; its result is set from another thread."""
        self._queue.put(job)

    def stop(self) -> None:
        """Compute what was submitted, then end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        for jobs in self._rounds():
            try:
                self._compute(jobs)
            # Whatever an engine raises must not end the service.
            except Exception as error:
                _log.error("the engine failed: %s", one_line(error))
                for job in jobs:
                    if not job.result.done():
                        job.result.set_exception(EngineError("the engine failed"))

    def _rounds(self) -> Iterator[list[Job]]:
        while (first := self._queue.get()) is not None:
            jobs, area = [first], first.area
            while area < _BATCHES_AT_ONCE * self.pixels_at_once:
                try:
                    job = self._queue.get_nowait()
                except Empty:
                    break
                if job is None:
                    yield jobs
                    return
                jobs.append(job)
                area += job.area
            yield jobs

    def _compute(self, jobs: list[Job]) -> None:
        batches = Batches(self._purifier, DEFAULT_TILE)
        groups: dict[tuple[int, ...], list[Job]] = {}
        for job in jobs:
            if not job.result.set_running_or_notify_cancel():
                continue
            if job.canvas is not None:
                batches.add(job.canvas, job.purified)
            elif job.pixels is not None:
                groups.setdefault(tuple(job.pixels.shape), []).append(job)
        batches.flush()
        for shape, group in groups.items():
            count = max(1, self.pixels_at_once // (shape[-2] * shape[-1]))
            for start in range(0, len(group), count):
                self._answer(group[start : start + count])

    def _answer(self, jobs: list[Job]) -> None:
        assert self._classify is not None
        images = np.concatenate([job.pixels for job in jobs if job.pixels is not None])
        try:
            answers = self._classify(self._purifier, images)
        except ImageError as error:
            for job in jobs:
                job.result.set_exception(error)
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.result.set_result(answer)


class _Counted:
    """A purifier that tells how much it computes."""

    def __init__(self, purifier: Engine, metrics: Metrics) -> None:
        self._purifier, self._metrics = purifier, metrics

    @property
    def config(self) -> PurifierConfig:
        return self._purifier.config

    def purify_bytes(self, images: Bytes) -> tuple[Bytes, npt.NDArray[np.bool_]]:
        with self._counted(len(images)):
            return self._purifier.purify_bytes(images)

    def __call__(self, images: Tensor) -> Tensor:
        with self._counted(len(images)):
            return self._purifier(images)

    @contextmanager
    def _counted(self, images: int) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._metrics.engine_seconds.inc(time.perf_counter() - began)
        self._metrics.batches.observe(images)
