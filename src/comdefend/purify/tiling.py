"""Large images in tiles, with the same result as in one piece."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from comdefend.data.image import Bytes
from comdefend.errors import InputError
from comdefend.nn.config import PurifierConfig

DEFAULT_TILE = 384
"""Side of a tile in pixels. The widest layer of the paper's network then takes 180 MB, and the
halo adds a fifth to the work."""


class Purifier(Protocol):
    """An engine: what purifies 8-bit images."""

    @property
    def config(self) -> PurifierConfig:
        """The architecture."""

    def purify_bytes(self, images: Bytes, /) -> tuple[Bytes, npt.NDArray[np.bool_]]:
        """(N, C, H, W) uint8 -> the same, purified, and (N,), which results are finite."""


class Canvas(Protocol):
    """An image of which parts can be read and replaced."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""

    def read(self, rows: slice, columns: slice) -> Bytes:
        """Return a copy of a part, (1, C, h, w) uint8."""

    def write(self, rows: slice, columns: slice, pixels: Bytes) -> None:
        """Replace a part by (1, C, h, w) uint8."""


@dataclass(frozen=True)
class Tile:
    """A tile of an image, in pixels.

    Attributes:
        rows, columns: The part of the image that the tile covers.
        outer_rows, outer_columns: The same with the halo, within the image.
    """

    rows: slice
    columns: slice
    outer_rows: slice
    outer_columns: slice

    def turned(self) -> "Tile":
        """Return the tile with rows and columns exchanged."""
        return Tile(self.columns, self.rows, self.outer_columns, self.outer_rows)

    def cropped(self, outer: Bytes) -> Bytes:
        """Cut the halo off a result that was computed from the outer part."""
        top = self.rows.start - self.outer_rows.start
        left = self.columns.start - self.outer_columns.start
        height = self.rows.stop - self.rows.start
        width = self.columns.stop - self.columns.start
        return outer[..., top : top + height, left : left + width]

    @property
    def longer_side(self) -> int:
        """Height or width in pixels, without the halo."""
        return max(self.rows.stop - self.rows.start, self.columns.stop - self.columns.start)

    def halves(self, halo: int, multiple: int = 1) -> list["Tile"]:
        """Return the tile in two, across its longer side; arguments as for `tiles`."""
        if self.rows.stop - self.rows.start < self.columns.stop - self.columns.start:
            return [half.turned() for half in self.turned().halves(halo, multiple)]
        halo = -(-halo // multiple) * multiple
        start, stop = self.rows.start, self.rows.stop
        middle = start + -(-(stop - start) // (2 * multiple)) * multiple
        first, last = self.outer_rows.start, self.outer_rows.stop
        return [
            replace(
                self, rows=slice(a, b), outer_rows=slice(max(a - halo, first), min(b + halo, last))
            )
            for a, b in ((start, middle), (middle, stop))
            if a < b
        ]

    def outer_within(self, whole: "Tile", outer: Bytes) -> Bytes:
        """Cut the outer part of a tile out of that of one that it is a half of."""
        top, left = whole.outer_rows.start, whole.outer_columns.start
        rows = slice(self.outer_rows.start - top, self.outer_rows.stop - top)
        return outer[..., rows, self.outer_columns.start - left : self.outer_columns.stop - left]


def tiles(height: int, width: int, tile: int, halo: int, multiple: int = 1) -> Iterator[Tile]:
    """Yield tiles that cover an image, row by row.

    Args:
        height, width: Size of the image.
        tile: Side of a tile, rounded up to ``multiple``.
        halo: Pixels around a tile that are needed to compute it, rounded up to ``multiple``.
        multiple: Side of the blocks that the purifier sees; tiles start at block borders.
    """
    tile, halo = (-(-length // multiple) * multiple for length in (tile, halo))
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            yield Tile(
                slice(top, bottom),
                slice(left, right),
                slice(max(top - halo, 0), min(bottom + halo, height)),
                slice(max(left - halo, 0), min(right + halo, width)),
            )


def tiles_with_pixels(
    canvas: Canvas, tile: int, halo: int, multiple: int = 1
) -> Iterator[tuple[Tile, Bytes]]:
    """Yield tiles that cover an image, each with the pixels of its outer part.

    The image can be replaced tile by tile while this runs: the original pixels that later tiles
    need are kept. So no second image is needed for the result.

    Args:
        canvas: The image.
        tile, halo, multiple: As for `tiles`.

    Yields:
        A tile, and a copy of its outer pixels, (1, C, h, w) uint8.
    """
    height, width = canvas.size
    # In strips along the shorter side, so that those of a long panorama are small.
    wide = width > height
    halo = -(-halo // multiple) * multiple
    above: Bytes | None = None
    parts = tiles(max(height, width), min(height, width), tile, halo, multiple)
    for top, group in itertools.groupby(parts, lambda part: part.rows.start):
        strip = list(group)
        rows, columns = slice(top, strip[0].outer_rows.stop), slice(0, min(height, width))
        pixels = canvas.read(columns, rows).swapaxes(-2, -1) if wide else canvas.read(rows, columns)
        if above is not None:
            pixels = np.concatenate([above, pixels], -2)
        bottom = strip[0].rows.stop - strip[0].outer_rows.start
        above = pixels[..., max(bottom - halo, 0) : bottom, :].copy()
        for part in strip:
            outer = pixels[..., part.outer_columns].copy()
            yield (part.turned(), outer.swapaxes(-2, -1)) if wide else (part, outer)


def check_tile(tile: int) -> None:
    """Raise InputError if the side of a tile is below 1 pixel."""
    if tile < 1:
        raise InputError(f"tile must be at least 1 pixel, not {tile}")
