"""Files to files: read ahead, computed in batches, written behind."""

import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, Final, Literal, cast

from comdefend.common.places import Place
from comdefend.common.remote import RemotePath
from comdefend.data.image import ImageCanvas
from comdefend.data.image_files import NEEDS_MEMORY, decode_image, pixel_count, read_image
from comdefend.data.image_output import write_image
from comdefend.errors import ImageError, OutputError, RemoteError, out_of_memory
from comdefend.purify.batches import Batches
from comdefend.purify.tiling import Purifier

_IN_FLIGHT = 64_000_000
"""At most so many pixels are read but not yet written, unless a single image has more."""

_LEAST_PIXELS = 4096
"""Least number of pixels that an image counts for: its metadata and queue entries need memory."""

_BATCHES_WAITED = 8
"""An incomplete batch is computed after as many pixels of other images as so many batches hold."""

_THREADS = 4
"""Most threads that read, and that write; the engine needs most of the cores."""

_REQUESTS = 16
"""Files that are looked for, fetched or sent at once where a network answers late."""

Status = Literal["purified", "skipped", "failed"]


@dataclass(frozen=True)
class PurifiedFile:
    """What became of one file.

    Attributes:
        source: The file read.
        target: The file written, or that would have been.
        status: ``purified``, ``skipped`` (the target was there) or ``failed``.
        error: Why it failed, in one line; empty otherwise.
        notes: What of its metadata was left behind, and why, a few words each.
    """

    source: Place
    target: Place
    status: Status
    error: str = ""
    notes: tuple[str, ...] = ()


def purify_pairs(
    purifier: Purifier,
    pairs: list[tuple[Place, Place]],
    skips: Callable[[Place], bool],
    tile: int,
    resize: int = 0,
) -> Generator[PurifiedFile, None, None]:
    """Purify files and yield what became of each, in order; a bad file does not stop the others.

    Warnings of decoders are not silenced here: see `quiet_decoders`.

    Args:
        purifier: Computes in the calling thread.
        pairs: Source and target of each file.
        skips: Tells of a target whether its file is left as it is.
        tile: Side of a tile in pixels.
        resize: Shrink images to this shorter side first, in pixels; 0 leaves them.
    """
    batches = Batches(purifier, tile)
    window = _BATCHES_WAITED * batches.pixels_at_once
    remote = any(isinstance(place, RemotePath) for pair in pairs for place in pair)
    pipeline = _Pipeline(purifier.config.channels, window, resize, _REQUESTS if remote else 1)
    in_flight: deque[_FileInFlight] = deque()
    try:
        for file in pipeline.start(pairs, skips):
            if file is None:
                batches.flush()
            else:
                in_flight.append(file)
                pipeline.compute(file, batches)
            while in_flight and in_flight[0].outcome.done():
                yield in_flight.popleft().outcome.result()
        batches.flush()
        while in_flight:
            yield in_flight.popleft().outcome.result()
    finally:
        pipeline.stop()


@dataclass(eq=False)
class _FileInFlight:
    """A file between being listed and being done.

    Attributes:
        source, target: The file to read, the file to write.
        data: Its bytes, which another machine sent; None for a file of this one.
        pixels: Number that it counts for.
        reading: The image, once it is read; None after it has been computed.
        outcome: What became of the file, once it is known.
    """

    source: Place
    target: Place
    data: BinaryIO | None = None
    pixels: int = 0
    reading: Future[ImageCanvas] | None = None
    outcome: Future[PurifiedFile] = field(default_factory=Future)

    def settle(self, status: Status, error: str = "", notes: tuple[str, ...] = ()) -> None:
        self.outcome.set_result(PurifiedFile(self.source, self.target, status, error, notes))


_END: Final = "end"
_FLUSH: Final = "flush"


class _Pipeline:
    """The threads around the one that computes.

    Some fetch what lies elsewhere; one admits the next image when there is room for its size; some
    read, some write. Images are admitted, and come out of `start`, in the order of the files.

    Args:
        channels: Channels of the images that the purifier takes.
        window: Pixels after which `start` asks for incomplete batches to be computed. Only the
            files decide, so that the same files are always computed in the same batches.
        resize: As for `purify_pairs`.
        requests: Files that are fetched, and that are sent, at once.
    """

    def __init__(self, channels: int, window: int, resize: int, requests: int) -> None:
        threads = min(_THREADS, os.cpu_count() or 1)
        self._channels, self._resize = channels, resize
        # With a larger one, images in incomplete batches could take all the room and wait forever.
        self._window = min(window, _IN_FLIGHT)
        self._requests = requests
        self._fetchers = ThreadPoolExecutor(requests, "comdefend-fetch")
        self._readers = ThreadPoolExecutor(1 + threads, "comdefend-read")
        self._writers = ThreadPoolExecutor(max(threads, requests), "comdefend-write")
        self._room = _Room(_IN_FLIGHT)
        self._stopped = threading.Event()
        self._queue: SimpleQueue[_FileInFlight | str] = SimpleQueue()

    def start(
        self, pairs: list[tuple[Place, Place]], skips: Callable[[Place], bool]
    ) -> Iterator[_FileInFlight | None]:
        """Read files; yield each in its turn, and None where batches are to be flushed."""
        feeding = self._readers.submit(self._feed, pairs, skips)
        while (item := self._queue.get()) != _END:
            yield item if isinstance(item, _FileInFlight) else None
        feeding.result()

    def compute(self, file: _FileInFlight, batches: Batches) -> None:
        """Wait until a file is read, and add its image to the batches; it is written afterwards."""
        if file.reading is None:
            return
        try:
            canvas = file.reading.result()
        except ImageError as error:
            self._finish(file, "failed", str(error))
        except Exception as error:
            if not out_of_memory(error):
                raise
            self._finish(file, "failed", NEEDS_MEMORY)
        else:
            batches.add(canvas, functools.partial(self._computed, file, canvas))
        finally:
            # So that the image is freed once it is written, even if its result waits for its turn.
            file.reading = None

    def stop(self) -> None:
        """End all threads; files that are only half written leave nothing behind."""
        self._stopped.set()
        self._room.close()
        self._fetchers.shutdown(cancel_futures=True)
        self._readers.shutdown(cancel_futures=True)
        self._writers.shutdown(cancel_futures=True)

    def _feed(self, pairs: list[tuple[Place, Place]], skips: Callable[[Place], bool]) -> None:
        try:
            window = 0
            for file in self._found(pairs, skips):
                if not file.outcome.done():
                    window += file.pixels
                    if window > self._window:
                        # Before waiting for room, which images in incomplete batches may take.
                        self._queue.put(_FLUSH)
                        window = file.pixels
                    if not self._room.take(file.pixels):
                        return
                    file.reading = self._readers.submit(self._read, file)
                self._queue.put(file)
        finally:
            self._queue.put(_END)

    def _found(
        self, pairs: list[tuple[Place, Place]], skips: Callable[[Place], bool]
    ) -> Iterator[_FileInFlight]:
        """Yield files in order, the next ones being looked for meanwhile."""
        ahead: deque[Future[_FileInFlight]] = deque()
        for pair in pairs:
            ahead.append(self._fetchers.submit(self._find, _FileInFlight(*pair), skips))
            if len(ahead) > self._requests:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _find(self, file: _FileInFlight, skips: Callable[[Place], bool]) -> _FileInFlight:
        """Fetch a file that is not skipped, and count its pixels."""
        try:
            if skips(file.target):
                file.settle("skipped")
            elif isinstance(file.source, RemotePath):
                file.data = file.source.fetched()
        except (ImageError, RemoteError) as error:
            file.settle("failed", str(error))
        if file.outcome.done():
            return file
        # A pixel in memory is 4 bytes, and the file itself waits there too.
        held = 0 if file.data is None else file.data.seek(0, os.SEEK_END) // 4
        opened = file.source if isinstance(file.source, Path) else cast(BinaryIO, file.data)
        file.pixels = max(pixel_count(opened), held, _LEAST_PIXELS)
        return file

    def _read(self, file: _FileInFlight) -> ImageCanvas:
        if isinstance(file.source, Path):
            image = read_image(file.source)
        else:
            with cast(BinaryIO, file.data) as data:
                image = decode_image(data)
        return ImageCanvas(image.shrunk(self._resize) if self._resize else image, self._channels)

    def _computed(self, file: _FileInFlight, canvas: ImageCanvas, error: str) -> None:
        if error:
            self._finish(file, "failed", error)
        else:
            self._writers.submit(self._write, file, canvas)

    def _write(self, file: _FileInFlight, canvas: ImageCanvas) -> None:
        try:
            left_behind = write_image(file.target, canvas.image, self._stopped)
            notes = (*canvas.image.notes, *left_behind)
        except (ImageError, OutputError) as error:
            self._finish(file, "failed", str(error))
        except BaseException as error:
            if out_of_memory(error):
                self._finish(file, "failed", NEEDS_MEMORY)
            else:
                # Raised in the thread that waits for the outcome.
                file.outcome.set_exception(error)
        else:
            self._finish(file, "purified", notes=notes)

    def _finish(
        self, file: _FileInFlight, status: Status, error: str = "", notes: tuple[str, ...] = ()
    ) -> None:
        file.settle(status, error, notes)
        self._room.give(file.pixels)


class _Room:
    """A limit on the pixels in flight: `take` waits until there is room.

    Args:
        limit: Most pixels at once; an image that has more must be the only one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._closed = False
        self._changed = threading.Condition()

    def take(self, pixels: int) -> bool:
        """Wait for room and take it; return False if it was closed meanwhile."""
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
