"""How much a service takes on at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from comdefend.service.metrics import Metrics
from comdefend.service.refusals import RequestError
from comdefend.service.settings import Settings

_IMAGES = 2
"""As many of the largest images are in memory at most, or the same pixels in smaller ones."""

_BODIES = 8
"""As many of the largest bodies are in memory at most, whole or in part."""

_LEAST_PIXELS = 4096
"""Least number of pixels that an image counts for."""


class Admission:
    """Counts what is in memory; what would be too much is refused, and not queued.

    All of it happens in the event loop.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._images, self._pixels, self._bytes = 0, 0.0, 0

    def check(self) -> None:
        """Raise RequestError if no image could be accepted now."""
        if self._images >= self._settings.queue:
            raise RequestError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"busy with {self._images} images, as many as this server takes; try again later",
                retry=True,
            )

    @contextmanager
    def image(self, pixels: int) -> Iterator[None]:
        """Accept an image while the context lasts.

        Raises:
            RequestError: There are too many, or too many pixels.
        """
        self.check()
        taken = max(pixels, _LEAST_PIXELS)
        if self._pixels and self._pixels + taken > _IMAGES * self._settings.max_pixels:
            raise RequestError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"busy with {self._pixels / 1e6:.3g} megapixels; try again later",
                retry=True,
            )
        self._count(1, taken)
        self._metrics.pixels.inc(pixels)
        try:
            yield
        finally:
            self._count(-1, -taken)

    @contextmanager
    def body(self) -> Iterator["Held"]:
        """Hold the bytes of a body while the context lasts."""
        held = Held(self)
        try:
            yield held
        finally:
            self._bytes -= held.size

    def hold(self, count: int) -> None:
        """Take bytes.

        Raises:
            RequestError: There are too many.
        """
        if self._bytes + count > _BODIES * self._settings.max_bytes:
            raise RequestError(
                HTTPStatus.SERVICE_UNAVAILABLE, "busy with other uploads; try again later", True
            )
        self._bytes += count

    def _count(self, images: int, pixels: float) -> None:
        self._images += images
        self._pixels += pixels
        self._metrics.accepted.set(self._images)


class Held:
    """The bytes of one body."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.size = 0

    def add(self, count: int) -> None:
        """Hold more; raises RequestError if there are too many in all."""
        self._admission.hold(count)
        self.size += count
