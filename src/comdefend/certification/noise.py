"""Normal noise that is a function of the seed, the image and the number of the draw alone."""

import hashlib
import os
from collections.abc import Sequence
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


def draws(which: Sequence[tuple[int, int]], shape: tuple[int, ...]) -> Tensor:
    """Return draws of standard normal noise, (N, *shape) float32, made by several threads.

    The generator counts (Philox), and each draw has counters of its own. So draws are independent,
    whatever is computed together and in whatever order; torch's generator has 32 bits of a seed on
    the processor, too few for as many draws.

    Args:
        which: For each draw its key, of `stream_key`, and its number.
        shape: Of one.
    """
    noise = np.empty((len(which), *shape), np.float32)

    def fill(part: slice) -> None:
        for row, (key, number) in zip(noise[part], which[part], strict=True):
            counted = np.random.Philox(key=key, counter=number << _STREAM_BITS)
            np.random.Generator(counted).standard_normal(dtype=np.float32, out=row)

    # NumPy lets other threads run while it draws.
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(fill, batches(len(which), max(1, -(-len(which) // _THREADS)))))
    return torch.from_numpy(noise)
