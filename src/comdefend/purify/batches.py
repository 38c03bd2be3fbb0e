"""Purifying tiles of many images in batches of equal shape."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from comdefend.data.image import Bytes
from comdefend.data.image_files import NEEDS_MEMORY
from comdefend.errors import out_of_memory
from comdefend.purify.tiling import (
    DEFAULT_TILE,
    Canvas,
    Purifier,
    Tile,
    check_tile,
    tiles_with_pixels,
)

NOT_FINITE = "the purifier returns values that are not finite: its weights or its engine are wrong"

_LEAST_TILE = 32
"""Tiles are not divided below this side: their halo is wider, and saves no more memory."""


@dataclass
class _Image:
    """An image, and how many of its tiles are not done yet, plus 1 while tiles are being added."""

    canvas: Canvas
    done: Callable[[str], None]
    waits_for: int = 1
    error: str = ""

    def settle(self) -> None:
        self.waits_for -= 1
        if self.waits_for == 0:
            self.done(self.error)


@dataclass(frozen=True)
class _Waiting:
    """A tile of an image, and its pixels with the halo, (1, C, h, w) uint8."""

    image: _Image
    part: Tile
    outer: Bytes

    def put(self, purified: Bytes | None) -> None:
        """Replace the tile in its image; None stands for values that are not finite."""
        if purified is None:
            self.image.error = NOT_FINITE
        else:
            part = self.part
            self.image.canvas.write(part.rows, part.columns, part.cropped(purified))


class Batches:
    """Purifies images in place, tile by tile, with tiles of many images in one batch.

    The halo of a tile is the receptive radius of the purifier, so its result is that of the whole
    image: no seam can show, and an image does not depend on others in its batch. Tiles of equal
    shape, halo included, are computed together, up to the number of pixels of one full tile with
    its halo: many small images take no more memory than a large one.

    Args:
        purifier: An engine.
        tile: Side of a tile in pixels.

    Raises:
        InputError: A tile below 1 pixel.
    """

    def __init__(self, purifier: Purifier, tile: int = DEFAULT_TILE) -> None:
        check_tile(tile)
        config = purifier.config
        self._purifier = purifier
        self._geometry = tile, config.receptive_radius, config.multiple
        self.pixels_at_once = (tile + 2 * config.receptive_radius) ** 2
        self._groups: dict[tuple[int, ...], list[_Waiting]] = {}

    def add(self, canvas: Canvas, done: Callable[[str], None]) -> None:
        """Purify an image, now or together with later ones of its shape.

        Args:
            canvas: Purified in place; not to be used until it is done.
            done: Called once, by this or a later `add` or `flush`: with an empty text when the
                image is purified, or with the reason why it is not: too little memory even for
                small tiles, or a result that is not finite.

        Raises:
            InputError: The channels are not those of the weights.
        """
        image = _Image(canvas, done)
        try:
            for part, outer in tiles_with_pixels(canvas, *self._geometry):
                if image.error:
                    break
                image.waits_for += 1
                shape = tuple(outer.shape[1:])
                group = self._groups.setdefault(shape, [])
                group.append(_Waiting(image, part, outer))
                if (len(group) + 1) * shape[-2] * shape[-1] > self.pixels_at_once:
                    self._compute(self._groups.pop(shape))
        except Exception as error:
            if not out_of_memory(error):
                raise
            image.error = NEEDS_MEMORY
        image.settle()

    def flush(self) -> None:
        """Compute all incomplete batches."""
        while self._groups:
            _, group = self._groups.popitem()
            self._compute(group)

    def _compute(self, group: list[_Waiting]) -> None:
        try:
            purified = self._purified(np.concatenate([tile.outer for tile in group]))
        except Exception as error:
            if not out_of_memory(error):
                raise
            purified = None
        if purified is None:
            # Outside of the handler, in which the error holds on to the memory that was taken.
            self._compute_in_less_memory(group)
            return
        for tile, outer in zip(group, purified, strict=True):
            try:
                tile.put(outer)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                tile.image.error = NEEDS_MEMORY
            tile.image.settle()

    def _compute_in_less_memory(self, group: list[_Waiting]) -> None:
        """Compute tiles one by one, and a single one in halves, down to the least size."""
        if len(group) > 1:
            for tile in group:
                self._compute([tile])
            return
        (tile,) = group
        _, radius, multiple = self._geometry
        if not tile.image.error and tile.part.longer_side > _LEAST_TILE:
            for half in tile.part.halves(radius, multiple):
                tile.image.waits_for += 1
                self._compute(
                    [_Waiting(tile.image, half, half.outer_within(tile.part, tile.outer))]
                )
        else:
            tile.image.error = tile.image.error or NEEDS_MEMORY
        tile.image.settle()

    def _purified(self, images: Bytes) -> list[Bytes | None]:
        """Return each image purified, (1, C, h, w) uint8; None where it is not finite."""
        purified, finite = self._purifier.purify_bytes(images)
        return [purified[n : n + 1] if sound else None for n, sound in enumerate(finite.tolist())]
