"""The tiles of a code, on all cores."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from comdefend.common.extras import require

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_tiles(function: Callable[[_Item], _Result], tiles: Iterable[_Item]) -> list[_Result]:
    """Return what a function makes of each tile, in order, as many at once as torch has threads.

    NumPy leaves the lock of the interpreter while it computes, so threads are enough. Its matrix
    products then take one thread each: their own would wait for work by keeping the cores busy.
    """
    items = list(tiles)
    threads = min(len(items), torch.get_num_threads())
    if threads < 2:
        return [function(item) for item in items]
    limits = require("threadpoolctl", "codec").threadpool_limits
    with limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
