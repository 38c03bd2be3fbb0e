"""Real images of any shape to compute on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from comdefend.bench.jobs import Shape
from comdefend.common.extras import require

_PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")

JUDGED: dict[int, Shape] = {1: (64, 28, 28), 3: (4, 224, 224)}
"""Channels -> the shape of the images on which engines are compared with float32 torch."""


def pictures(channels: int, shape: Shape) -> Tensor:
    """Return real images: (N, C, H, W) float32 in [0, 1].

    Crops of scikit-image's photographs, or, in grey, of the shipped Fashion-MNIST images. Images
    smaller than the crop are extended by reflection.

    Raises:
        ExtraMissingError: scikit-image, which holds the photographs, is not installed.
    """
    count, height, width = shape
    sources = _SOURCES[channels]()
    cut = [
        _crop(sources[index % len(sources)], height, width, index // len(sources))
        for index in range(count)
    ]
    return torch.from_numpy(np.stack(cut)).float() / 255


def _crop(image: np.ndarray, height: int, width: int, turn: int) -> np.ndarray:
    """Cut (C, height, width) out of (C, H, W), at another place each turn."""
    beyond = [
        (0, max(0, side - has)) for side, has in zip((height, width), image.shape[1:], strict=True)
    ]
    image = np.pad(image, ((0, 0), *beyond), mode="symmetric")
    top, left = (
        turn * 37 % (has - side + 1)
        for side, has in zip((height, width), image.shape[1:], strict=True)
    )
    return image[:, top : top + height, left : left + width]


def _photographs() -> list[np.ndarray]:
    folder = Path(require("skimage.data", "evaluate").__file__).parent
    found = []
    for name in _PHOTOS:
        with Image.open(folder / name) as image:
            found.append(np.array(image.convert("RGB")).transpose(2, 0, 1))
    return found


def _fashion() -> list[np.ndarray]:
    # Brings what draws the demo's pictures, which would count as memory of every job.
    from comdefend.data.shipped import fashion_images

    return list(fashion_images()[0].numpy())


_SOURCES: dict[int, Callable[[], list[np.ndarray]]] = {1: _fashion, 3: _photographs}
