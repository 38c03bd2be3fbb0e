"""Large images, tile by tile, with the same result as in one piece."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from comdefend.errors import InputError
from comdefend.nn.config import PurifierConfig

DEFAULT_TILE = 384
"""Side of a tile in pixels. The widest layer of the paper's network then takes 180 MB, and the
halo adds a fifth to the work."""


class Purifier(Protocol):
    """What tiling needs of a purifier: a `ComDefend`, or an engine that computes it."""

    @property
    def config(self) -> PurifierConfig:
        """The architecture."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """(N, C, H, W) float32 in [0, 1] -> the same, purified."""

    def encode(self, images: Tensor, /) -> Tensor:
        """(N, C, H, W) float32 in [0, 1] -> (N, K, h, w), 0 or 1."""


class Canvas(Protocol):
    """An image whose parts are read, and replaced by others of the same size."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""

    def read(self, rows: slice, columns: slice) -> Tensor:
        """Return a copy of a part, (1, C, h, w) uint8."""

    def write(self, rows: slice, columns: slice, pixels: Tensor) -> None:
        """Replace a part by (1, C, h, w) uint8 on the CPU."""


@dataclass(frozen=True)
class Tile:
    """A tile of an image, in pixels.

    Attributes:
        rows, columns: What the tile is responsible for.
        outer_rows, outer_columns: The same with its halo, as far as the image reaches.
    """

    rows: slice
    columns: slice
    outer_rows: slice
    outer_columns: slice

    def turned(self) -> "Tile":
        """Return the tile with rows and columns exchanged."""
        return Tile(self.columns, self.rows, self.outer_columns, self.outer_rows)

    def cropped(self, outer: Tensor) -> Tensor:
        """Cut the halo off what was computed from the outer part."""
        first = self.outer_rows.start, self.outer_columns.start
        return _cropped(outer, self.rows, self.columns, first)


def tiles(height: int, width: int, tile: int, halo: int, multiple: int = 1) -> Iterator[Tile]:
    """Yield tiles that cover an image, row by row.

    Args:
        height, width: Size of the image.
        tile: Side of a tile, rounded up to ``multiple``.
        halo: Pixels around a tile that are needed to compute it, rounded up to ``multiple``.
        multiple: Grid on which tiles start: side of the blocks that the purifier sees.
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
) -> Iterator[tuple[Tile, Tensor]]:
    """Yield tiles that cover an image, each with the pixels of its outer part.

    Tiles that were yielded may be replaced at once: what their neighbours need of the original is
    remembered, a halo's width of it. So no second image is needed for the result.

    Args:
        canvas: The image.
        tile, halo, multiple: As for `tiles`.

    Returns:
        Pixels are (1, C, h, w) uint8, copied.
    """
    height, width = canvas.size
    # In strips across the shorter side, which are small however long a panorama is.
    wide = width > height
    halo = -(-halo // multiple) * multiple
    above: Tensor | None = None
    parts = tiles(max(height, width), min(height, width), tile, halo, multiple)
    for top, group in itertools.groupby(parts, lambda part: part.rows.start):
        strip = list(group)
        rows, columns = slice(top, strip[0].outer_rows.stop), slice(0, min(height, width))
        pixels = canvas.read(columns, rows).mT if wide else canvas.read(rows, columns)
        if above is not None:
            pixels = torch.cat([above, pixels], -2)
        bottom = strip[0].rows.stop - strip[0].outer_rows.start
        above = pixels[..., max(bottom - halo, 0) : bottom, :].clone()
        for part in strip:
            outer = pixels[..., part.outer_columns].clone()
            yield (part.turned(), outer.mT) if wide else (part, outer)


@torch.inference_mode()
def encode_tiled(purifier: Purifier, pixels: Tensor, tile: int = DEFAULT_TILE) -> Tensor:
    """Compress 8-bit images of any size to their code.

    Its bits are those of ``purifier.encode`` on the whole image, but where a logit is so close to
    0 that the order of a sum decides.

    Args:
        purifier: In evaluation mode, or an engine.
        pixels: (N, C, H, W) uint8.
        tile: Side of a tile in pixels.

    Returns:
        (N, K, h, w) bool, on the CPU.

    Raises:
        InputError: Wrong shape or channel count, or a tile below 1 pixel.
    """
    check_tile(tile)
    check_pixels(pixels)
    config = purifier.config
    d = config.downscale
    count, _, height, width = pixels.shape
    sides = config.code_side(height), config.code_side(width)
    code = torch.empty(count, config.code_maps, *sides, dtype=torch.bool)
    for part in tiles(height, width, tile, config.receptive_radius, config.multiple):
        outer = pixels[..., part.outer_rows, part.outer_columns]
        found = purifier.encode(to_floats(outer, purifier.device))
        rows, columns = (
            slice(s.start // d, config.code_side(s.stop)) for s in (part.rows, part.columns)
        )
        first = part.outer_rows.start // d, part.outer_columns.start // d
        code[..., rows, columns] = _cropped(found, rows, columns, first).bool().cpu()
    return code


def check_tile(tile: int) -> None:
    """Raise InputError where a tile's side is below 1 pixel."""
    if tile < 1:
        raise InputError(f"tile must be at least 1 pixel, not {tile}")


def check_pixels(pixels: Tensor) -> None:
    """Raise InputError where pixels are not (N, C, H, W) uint8."""
    if pixels.ndim != 4 or pixels.dtype != torch.uint8:
        raise InputError(f"pixels must be (N, C, H, W) uint8, not {tuple(pixels.shape)}")


def to_floats(pixels: Tensor, device: torch.device) -> Tensor:
    """Return uint8 pixels as floats in [0, 1] on a device."""
    return (pixels.to(device).float() / 255).contiguous(memory_format=torch.channels_last)


def _cropped(outer: Tensor, rows: slice, columns: slice, first: tuple[int, int]) -> Tensor:
    """Cut the halo off a result whose first row and column are these."""
    top, left = rows.start - first[0], columns.start - first[1]
    return outer[
        ..., top : top + rows.stop - rows.start, left : left + columns.stop - columns.start
    ]
