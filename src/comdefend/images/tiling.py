"""Large images, tile by tile, with the same result as in one piece."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from comdefend.errors import InputError
from comdefend.nn.purifier import ComDefend

DEFAULT_TILE = 384
"""Side of a tile in pixels. The widest layer of the paper's network then takes 180 MB, and the
halo adds a fifth to the work."""


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


@torch.inference_mode()
def purify_tiled(purifier: ComDefend, pixels: Tensor, tile: int = DEFAULT_TILE) -> Tensor:
    """Purify 8-bit images of any size with memory that does not grow with it.

    The halo is the purifier's receptive radius, so no tile sees an edge that the whole image does
    not have: no seam can show.

    Args:
        purifier: In evaluation mode.
        pixels: (N, C, H, W) uint8.
        tile: Side of a tile in pixels.

    Returns:
        (N, C, H, W) uint8, on the CPU.

    Raises:
        InputError: Wrong shape or channel count, or a tile below 1 pixel.
    """
    purified = torch.empty_like(pixels, device="cpu")
    for part in _tiles_of(purifier, pixels, tile):
        outer = purifier(_to_floats(purifier, pixels, part))
        first = part.outer_rows.start, part.outer_columns.start
        inner = _crop(outer, part.rows, part.columns, first)
        purified[..., part.rows, part.columns] = (inner * 255).round().to(torch.uint8).cpu()
    return purified


@torch.inference_mode()
def encode_tiled(purifier: ComDefend, pixels: Tensor, tile: int = DEFAULT_TILE) -> Tensor:
    """Compress 8-bit images of any size to their code.

    Its bits are those of ``purifier.encode`` on the whole image, but where a logit is so close to
    0 that the order of a sum decides.

    Args:
        purifier: In evaluation mode.
        pixels: (N, C, H, W) uint8.
        tile: Side of a tile in pixels.

    Returns:
        (N, K, h, w) bool, on the CPU.

    Raises:
        InputError: Wrong shape or channel count, or a tile below 1 pixel.
    """
    config = purifier.config
    d = config.downscale
    count, _, height, width = pixels.shape
    sides = config.code_side(height), config.code_side(width)
    code = torch.empty(count, config.code_maps, *sides, dtype=torch.bool)
    for part in _tiles_of(purifier, pixels, tile):
        outer = purifier.encode(_to_floats(purifier, pixels, part))
        rows, columns = (
            slice(s.start // d, config.code_side(s.stop)) for s in (part.rows, part.columns)
        )
        first = part.outer_rows.start // d, part.outer_columns.start // d
        code[..., rows, columns] = _crop(outer, rows, columns, first).bool().cpu()
    return code


def _tiles_of(purifier: ComDefend, pixels: Tensor, tile: int) -> Iterator[Tile]:
    if tile < 1:
        raise InputError(f"tile must be at least 1 pixel, not {tile}")
    if pixels.ndim != 4 or pixels.dtype != torch.uint8:
        raise InputError(f"pixels must be (N, C, H, W) uint8, not {tuple(pixels.shape)}")
    config = purifier.config
    return tiles(pixels.shape[-2], pixels.shape[-1], tile, config.receptive_radius, config.multiple)


def _to_floats(purifier: ComDefend, pixels: Tensor, part: Tile) -> Tensor:
    device = next(purifier.parameters()).device
    outer = pixels[..., part.outer_rows, part.outer_columns].to(device)
    return (outer.float() / 255).contiguous(memory_format=torch.channels_last)


def _crop(outer: Tensor, rows: slice, columns: slice, first: tuple[int, int]) -> Tensor:
    """Cut the halo off a result whose first row and column are these."""
    top, left = rows.start - first[0], columns.start - first[1]
    return outer[
        ..., top : top + rows.stop - rows.start, left : left + columns.stop - columns.start
    ]
