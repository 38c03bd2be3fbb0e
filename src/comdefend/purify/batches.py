"""Tiles of many images through a purifier, those of equal shape together."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from comdefend.purify.tiling import (
    DEFAULT_TILE,
    Canvas,
    Purifier,
    Tile,
    check_pixels,
    check_tile,
    tiles_with_pixels,
    to_floats,
)

_OUT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)


@dataclass
class _Image:
    """An image on its way: how many tiles it still waits for, one more while it is read."""

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
    """A tile of an image, and the pixels of its outer part, (1, C, h, w) uint8."""

    image: _Image
    part: Tile
    outer: Tensor


class Batches:
    """Purifies images tile by tile, in place, the tiles of many images together.

    The halo is the purifier's receptive radius, so no tile sees an edge that the whole image does
    not have: no seam can show, and no image tells which others it went with. Tiles whose outer
    shapes are equal are computed together, as many pixels at once as one whole tile has with its
    halo: many small images take no more memory than a large one.

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
        """Purify an image, now or with others of its shape.

        Args:
            canvas: Read and replaced, in place, until it is done.
            done: Called once: with True when the image is purified, with False when there was not
                enough memory for it. By a later `add` or `flush`, if not by this one.

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
        """Compute what waits for others of its shape."""
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
                # Whose fault it is shows when each goes by itself.
                for tile in group:
                    self._compute([tile])
                return
            group[0].image.failed = True
        for tile in group:
            tile.image.settle()

    def _purified(self, pixels: Tensor) -> Tensor:
        floats = self._purifier(to_floats(pixels, self._purifier.device))
        return (floats * 255).round().to(torch.uint8).cpu()


def purify_tiled(purifier: Purifier, pixels: Tensor, tile: int = DEFAULT_TILE) -> Tensor:
    """Purify 8-bit images of any size, with memory for a tile and the result.

    Args:
        purifier: In evaluation mode, or an engine.
        pixels: (N, C, H, W) uint8.
        tile: Side of a tile in pixels.

    Returns:
        (N, C, H, W) uint8, on the CPU.

    Raises:
        InputError: Wrong shape or channel count, or a tile below 1 pixel.
        MemoryError: There is not enough memory for a tile.
    """
    check_pixels(pixels)
    batches = Batches(purifier, tile)
    purified = pixels.cpu().clone()

    def check(enough: bool) -> None:
        if not enough:
            raise MemoryError("not enough memory for a tile; take smaller ones")

    for image in purified.split(1):
        batches.add(_TensorCanvas(image), check)
    batches.flush()
    return purified


class _TensorCanvas:
    """(1, C, H, W) uint8 as a canvas."""

    def __init__(self, pixels: Tensor) -> None:
        self._pixels = pixels
        self.size = (pixels.shape[-2], pixels.shape[-1])

    def read(self, rows: slice, columns: slice) -> Tensor:
        return self._pixels[..., rows, columns].clone()

    def write(self, rows: slice, columns: slice, pixels: Tensor) -> None:
        self._pixels[..., rows, columns] = pixels
