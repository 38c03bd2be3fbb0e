"""Files to files: read ahead, computed in batches, written behind."""

import functools
import os
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Literal

import torch

from comdefend.data.image_files import ImageCanvas, pixel_count, read_image, write_image
from comdefend.errors import ImageError, OutputError
from comdefend.purify.batches import Batches
from comdefend.purify.tiling import Purifier

_IN_FLIGHT = 64_000_000
"""Pixels that are read but not yet written, at most, unless a single image has more."""

_LEAST_PIXELS = 4096
"""What an image counts for at least: a file, its metadata and its place in the queues."""

_BATCHES_WAITED = 8
"""How many batches' worth of images may come before one that waits for its like is computed."""

_THREADS = 4
"""Most that read, and that write: of a processor's cores the engine needs the most."""

_OUT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)
_NEEDS_MEMORY = "needs more memory than there is"

Status = Literal["purified", "skipped", "failed"]


@dataclass(frozen=True)
class PurifiedFile:
    """What became of one file.

    Attributes:
        source: The file read.
        target: The file written, or that would have been.
        status: ``purified``, ``skipped`` (the target was there) or ``failed``.
        error: Why it failed, in one line; empty otherwise.
    """

    source: Path
    target: Path
    status: Status
    error: str = ""


def purify_pairs(
    purifier: Purifier, pairs: list[tuple[Path, Path]], overwrite: bool, tile: int
) -> Generator[PurifiedFile, None, None]:
    """Purify files, a bad one stopping nothing, and yield what became of each, in order.

    Warnings of decoders are not kept quiet here: see `quiet_decoders`.

    Args:
        purifier: Computes in the calling thread.
        pairs: Source and target of each.
        overwrite: Purify again what was purified before.
        tile: Side of a tile in pixels.
    """
    batches = Batches(purifier, tile)
    pipeline = _Pipeline(purifier.config.channels, _BATCHES_WAITED * batches.pixels_at_once)
    under_way: deque[_Job] = deque()
    try:
        for job in pipeline.start(pairs, overwrite):
            if job is None:
                batches.flush()
            else:
                under_way.append(job)
                pipeline.compute(job, batches)
            while under_way and under_way[0].outcome.done():
                yield under_way.popleft().outcome.result()
        batches.flush()
        while under_way:
            yield under_way.popleft().outcome.result()
    finally:
        pipeline.stop()


@dataclass(eq=False)
class _Job:
    """A file on its way.

    Attributes:
        source, target: Where from, where to.
        pixels: What it counts for while it is in flight.
        reading: The image, once it is read; taken away when it is computed.
        outcome: What became of the file, once it is known.
    """

    source: Path
    target: Path
    pixels: int = 0
    reading: Future[ImageCanvas] | None = None
    outcome: Future[PurifiedFile] = field(default_factory=Future)

    def settle(self, status: Status, error: str = "") -> None:
        self.outcome.set_result(PurifiedFile(self.source, self.target, status, error))


_END: Final = "end"
_FLUSH: Final = "flush"


class _Pipeline:
    """The threads around the one that computes.

    One finds out how large the next image is and lets it in when there is room for it; some read,
    some write. Images are let in, and come out of `start`, in the order of the files.

    Args:
        channels: Of the images that the purifier takes.
        window: Pixels after which `start` asks for what waits for its like to be computed. It
            depends on the files alone: the same files are computed in the same batches.
    """

    def __init__(self, channels: int, window: int) -> None:
        threads = min(_THREADS, os.cpu_count() or 1)
        self._channels = channels
        # With a larger one, images that wait for their like could fill the room and wait forever.
        self._window = min(window, _IN_FLIGHT)
        self._readers = ThreadPoolExecutor(1 + threads, "comdefend-read")
        self._writers = ThreadPoolExecutor(threads, "comdefend-write")
        self._room = _Room(_IN_FLIGHT)
        self._stopped = threading.Event()
        self._queue: SimpleQueue[_Job | str] = SimpleQueue()

    def start(self, pairs: list[tuple[Path, Path]], overwrite: bool) -> Iterator[_Job | None]:
        """Read files; yield each when it is its turn, and None where batches are to be flushed."""
        feeding = self._readers.submit(self._feed, pairs, overwrite)
        while (item := self._queue.get()) != _END:
            yield item if isinstance(item, _Job) else None
        feeding.result()

    def compute(self, job: _Job, batches: Batches) -> None:
        """Hand a file's image to the batches as soon as it is read; it is written afterwards."""
        if job.reading is None:
            return
        try:
            canvas = job.reading.result()
        except ImageError as error:
            self._finish(job, "failed", str(error))
        except _OUT_OF_MEMORY:
            self._finish(job, "failed", _NEEDS_MEMORY)
        else:
            batches.add(canvas, functools.partial(self._computed, job, canvas))
        finally:
            # What has been written is to be freed, though its result may wait for its turn.
            job.reading = None

    def stop(self) -> None:
        """End all threads; files that are being written are given up, and leave nothing."""
        self._stopped.set()
        self._room.close()
        self._readers.shutdown(cancel_futures=True)
        self._writers.shutdown(cancel_futures=True)

    def _feed(self, pairs: list[tuple[Path, Path]], overwrite: bool) -> None:
        try:
            window = 0
            for source, target in pairs:
                job = _Job(source, target)
                if os.path.lexists(target) and not overwrite:
                    job.settle("skipped")
                else:
                    job.pixels = max(pixel_count(source), _LEAST_PIXELS)
                    window += job.pixels
                    if window > self._window:
                        # Before waiting for room, which those may hold that wait for their like.
                        self._queue.put(_FLUSH)
                        window = job.pixels
                    if not self._room.take(job.pixels):
                        return
                    job.reading = self._readers.submit(self._read, source)
                self._queue.put(job)
        finally:
            self._queue.put(_END)

    def _read(self, source: Path) -> ImageCanvas:
        return ImageCanvas(read_image(source), self._channels)

    def _computed(self, job: _Job, canvas: ImageCanvas, enough_memory: bool) -> None:
        if enough_memory:
            self._writers.submit(self._write, job, canvas)
        else:
            self._finish(job, "failed", _NEEDS_MEMORY)

    def _write(self, job: _Job, canvas: ImageCanvas) -> None:
        try:
            write_image(job.target, canvas.image, self._stopped)
        except (ImageError, OutputError) as error:
            self._finish(job, "failed", str(error))
        except _OUT_OF_MEMORY:
            self._finish(job, "failed", _NEEDS_MEMORY)
        except BaseException as error:
            # For the thread that waits for the outcome.
            job.outcome.set_exception(error)
        else:
            self._finish(job, "purified")

    def _finish(self, job: _Job, status: Status, error: str = "") -> None:
        job.settle(status, error)
        self._room.give(job.pixels)


class _Room:
    """A bound on pixels: one waits until there is room for more.

    Args:
        limit: How many there may be; an image that has more comes alone.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._closed = False
        self._changed = threading.Condition()

    def take(self, pixels: int) -> bool:
        """Wait for room, and take it; False where it has been closed instead."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not self._taken or self._taken + pixels <= self._limit
            )
            self._taken += pixels
            return not self._closed

    def give(self, pixels: int) -> None:
        with self._changed:
            self._taken -= pixels
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
