"""Purifying tiles of many images in batches of equal shape."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from comdefend.purify.tiling import (
    DEFAULT_TILE,
    Canvas,
    Purifier,
    Tile,
    check_tile,
    tiles_with_pixels,
    to_floats,
)

_OUT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)


@dataclass
class _Image:
    """An image, and how many of its tiles are not done yet, plus 1 while tiles are being added."""

    canvas: Canvas
    done: Callable[[bool], None]
    waits_for: int = 1
    failed: bool = False

    def settle(self) -> None:
        self.waits_for -= 1
        if self.waits_for == 0:
            self.done(not self.failed)


@dataclass(frozen=True)
class _Waiting:
    """A tile of an image, and its pixels with the halo, (1, C, h, w) uint8."""

    image: _Image
    part: Tile
    outer: Tensor


class Batches:
    """Purifies images in place, tile by tile, with tiles of many images in one batch.

    The halo of a tile is the receptive radius of the purifier, so its result is that of the whole
    image: no seam can show, and an image does not depend on others in its batch. Tiles of equal
    shape, halo included, are computed together, up to the number of pixels of one full tile with
    its halo: many small images take no more memory than a large one.

    Args:
        purifier: In evaluation mode, or an engine.
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

    def add(self, canvas: Canvas, done: Callable[[bool], None]) -> None:
        """Purify an image, now or together with later ones of its shape.

        Args:
            canvas: Purified in place; not to be used until it is done.
            done: Called once, by this or a later `add` or `flush`: with True when the image is
                purified, with False if there was not enough memory for it.

        Raises:
            InputError: The channels are not those of the weights.
        """
        image = _Image(canvas, done)
        try:
            for part, outer in tiles_with_pixels(canvas, *self._geometry):
                if image.failed:
                    break
                image.waits_for += 1
                shape = tuple(outer.shape[1:])
                group = self._groups.setdefault(shape, [])
                group.append(_Waiting(image, part, outer))
                if (len(group) + 1) * shape[-2] * shape[-1] > self.pixels_at_once:
                    self._compute(self._groups.pop(shape))
        except _OUT_OF_MEMORY:
            image.failed = True
        image.settle()

    def flush(self) -> None:
        """Compute all incomplete batches."""
        while self._groups:
            _, group = self._groups.popitem()
            self._compute(group)

    @torch.inference_mode()
    def _compute(self, group: list[_Waiting]) -> None:
        try:
            purified = self._purified(torch.cat([tile.outer for tile in group]))
            for tile, outer in zip(group, purified.split(1), strict=True):
                tile.image.canvas.write(tile.part.rows, tile.part.columns, tile.part.cropped(outer))
        except _OUT_OF_MEMORY:
            if len(group) > 1:
                # Alone, the tiles may fit, or show which image is too large.
                for tile in group:
                    self._compute([tile])
                return
            group[0].image.failed = True
        for tile in group:
            tile.image.settle()

    def _purified(self, pixels: Tensor) -> Tensor:
        floats = self._purifier(to_floats(pixels, self._purifier.device))
        return (floats * 255).round().to(torch.uint8).cpu()
