"""Normal noise that is a function of the seed, the image and the number of the draw alone."""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

_STREAM_BITS = 128


def stream_key(seed: int, purpose: str, image: Tensor) -> int:
    """Return the key of an image's noise.

    Args:
        seed: Of the run.
        purpose: What it is drawn for; each has noise of its own.
        image: (C, H, W) float in [0, 1].
    """
    digest = hashlib.sha256(f"{seed} {purpose} {tuple(image.shape)}".encode())
    digest.update(image.contiguous().numpy().data)
    return int.from_bytes(digest.digest()[: _STREAM_BITS // 8])


def draw(key: int, number: int, shape: tuple[int, ...]) -> Tensor:
    """Return one draw of standard normal noise, float32.

    The generator counts (Philox), and each draw has counters of its own. So draws are independent,
    whatever is computed together and in whatever order; torch's generator has 32 bits of a seed on
    the processor, too few for as many draws.

    Args:
        key: Of `stream_key`.
        number: Of the draw.
        shape: Of the noise.
    """
    generator = np.random.Generator(np.random.Philox(key=key, counter=number << _STREAM_BITS))
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))


def noisy(image: Tensor, sigma: float, key: int, numbers: Iterable[int]) -> Tensor:
    """Return an image under several draws of noise, (draws, C, H, W), not clamped.

    Args:
        image: (C, H, W) float in [0, 1].
        sigma: Standard deviation of the noise.
        key: Of `stream_key`.
        numbers: Of the draws.
    """
    shape = tuple(image.shape)
    return torch.stack([image + sigma * draw(key, number, shape) for number in numbers])
