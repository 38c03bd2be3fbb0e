"""Tensors as pictures that a page holds in itself: nothing of a photograph becomes a file."""

import base64
import io

from PIL import Image
from torch import Tensor

from comdefend.demo.pictures import mosaic
from comdefend.nn.images import to_bytes

CODE_MAPS = 16
"""So many maps of the code are shown."""


def magnification(eps: float) -> int:
    """Return how many times a change of ``eps``/255 can be amplified around grey."""
    return max(1, round(128 / eps))


def perturbation(attacked: Tensor, clean: Tensor, eps: float) -> Tensor:
    """Return the change, amplified around grey: (3, H, W) in [0, 1]."""
    return (0.5 + magnification(eps) * (attacked - clean)).clamp(0, 1)


def code_picture(code: Tensor) -> Tensor:
    """Return the maps of a code that vary most, in a square: (1, H, W) in [0, 1]."""
    return mosaic(code, CODE_MAPS)


def address(image: Tensor) -> str:
    """Return an image, (C, H, W) in [0, 1], as the ``data:`` address of a PNG."""
    pixels = to_bytes(image).permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
