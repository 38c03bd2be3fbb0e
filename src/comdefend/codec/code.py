"""The binary code of a whole image: computed, kept and decoded part by part."""

import numpy as np
import torch

from comdefend.codec.levels import Bits
from comdefend.engines.engine import Engine
from comdefend.errors import ImageError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.images import to_bytes, to_floats
from comdefend.nn.purifier import ComDefend
from comdefend.purify.batches import NOT_FINITE
from comdefend.purify.tiling import DEFAULT_TILE, Canvas, tiles, tiles_with_pixels


class Code:
    """The code of an image, eight maps to a byte.

    Args:
        maps: Number of maps.
        size: Height and width, in places.
    """

    def __init__(self, maps: int, size: tuple[int, int]) -> None:
        self.maps = maps
        self.size = size
        self._packed = np.zeros((-(-maps // 8), *size), np.uint8)

    def read(self, maps: int, rows: slice, columns: slice) -> Bits:
        """Return a part of the first maps."""
        packed = self._packed[: -(-maps // 8), rows, columns]
        return np.unpackbits(packed, axis=0, count=maps)

    def write(self, first: int, rows: slice, columns: slice, bits: Bits) -> None:
        """Set a part of the maps from ``first`` on, which was not set before."""
        byte, offset = divmod(first, 8)
        padded = np.concatenate([np.zeros((offset, *bits.shape[1:]), np.uint8), bits])
        packed = np.packbits(padded, axis=0)
        self._packed[byte : byte + len(packed), rows, columns] |= packed


@torch.inference_mode()
def encode_image(purifier: ComDefend | Engine, canvas: Canvas, tile: int = DEFAULT_TILE) -> Code:
    """Return the code of an image.

    Args:
        purifier: In evaluation mode, or an engine.
        canvas: The image; not changed.
        tile: Side in pixels of the tiles in which it is computed. Their halo makes the code that of
            the whole image, except where a logit is as near 0 as floats are rounded.
    """
    config = purifier.config
    height, width = (config.code_side(side) for side in canvas.size)
    code = Code(config.code_maps, (height, width))
    for part, outer in tiles_with_pixels(canvas, tile, config.receptive_radius, config.multiple):
        computed = purifier.encode(to_floats(torch.from_numpy(outer), purifier.device))[0]
        bits = computed.to(torch.uint8).cpu().numpy()
        rows, columns = (_places(config, side) for side in (part.rows, part.columns))
        outer_rows, outer_columns = (
            _places(config, side) for side in (part.outer_rows, part.outer_columns)
        )
        code.write(0, rows, columns, bits[:, _in(rows, outer_rows), _in(columns, outer_columns)])
    return code


@torch.inference_mode()
def decode_image(
    purifier: ComDefend | Engine, code: Code, canvas: Canvas, tile: int = DEFAULT_TILE
) -> None:
    """Rebuild an image from its code.

    Args:
        purifier: In evaluation mode, or an engine, for as many maps as the code has.
        code: Of an image of the size of the canvas.
        canvas: Where the image goes.
        tile: As for `encode_image`.

    Raises:
        ImageError: The result is not finite.
    """
    config = purifier.config
    for part in tiles(*canvas.size, tile, config.receptive_radius, config.multiple):
        places = (_places(config, side) for side in (part.outer_rows, part.outer_columns))
        bits = torch.from_numpy(code.read(code.maps, *places)).float().unsqueeze(0)
        image = purifier.decode(bits.to(purifier.device))
        if not image.isfinite().all():
            raise ImageError(NOT_FINITE)
        canvas.write(part.rows, part.columns, part.cropped(to_bytes(image).cpu().numpy()))


def _places(config: PurifierConfig, pixels: slice) -> slice:
    """Return the places of the code of some rows or columns, which start at a block's border."""
    return slice(config.code_side(pixels.start), config.code_side(pixels.stop))


def _in(part: slice, whole: slice) -> slice:
    """Return where a part lies in what begins with ``whole``."""
    return slice(part.start - whole.start, part.stop - whole.start)
