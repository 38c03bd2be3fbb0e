"""Normal noise that is a function of the seed, the image and the number of the draw alone."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from comdefend.nn.batches import batches

_STREAM_BITS = 128
# Of threads that draw noise: enough for a GPU.
_THREADS = min(4, os.cpu_count() or 1)


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
    return draws([(key, number)], shape)[0]


def draws(which: Sequence[tuple[int, int]], shape: tuple[int, ...]) -> Tensor:
    """Return many draws at once, (N, *shape); NumPy's threads draw them side by side.

    Args:
        which: Key and number of each, as for `draw`.
        shape: Of one.
    """
    noise = np.empty((len(which), *shape), np.float32)

    def fill(part: slice) -> None:
        for row, (key, number) in zip(noise[part], which[part], strict=True):
            counted = np.random.Philox(key=key, counter=number << _STREAM_BITS)
            np.random.Generator(counted).standard_normal(dtype=np.float32, out=row)

    parts = list(batches(len(which), -(-len(which) // _THREADS) or 1))
    if len(parts) > 1:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(fill, parts))
    else:
        for part in parts:
            fill(part)
    return torch.from_numpy(noise)


def noisy(image: Tensor, sigma: float, key: int, numbers: Iterable[int]) -> Tensor:
    """Return an image under several draws of noise, (draws, C, H, W), not clamped.

    Args:
        image: (C, H, W) float in [0, 1].
        sigma: Standard deviation of the noise.
        key: Of `stream_key`.
        numbers: Of the draws.
    """
    return image + sigma * draws([(key, number) for number in numbers], tuple(image.shape))
