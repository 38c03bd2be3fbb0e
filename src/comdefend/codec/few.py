"""Whether there is so little to code that opening a fast engine would take longer."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from comdefend.common.places import Place
from comdefend.data.image_files import pixel_count

FEW_PIXELS = 500_000
"""Opening OpenVINO for both parts takes half a second or more, and saves as much on some hundred
thousand pixels, fewer with the paper's network and more with lighter ones."""
_UNSEEN_PIXELS = 500_000
"""What a file of another machine is taken for: to look at its size is to fetch it."""
# Looking at the size of more files than this would itself take time.
_FEW_FILES = 64


def are_few(
    pairs: Sequence[tuple[Place, Place]],
    skips: Callable[[Place], bool],
    count: Callable[[Path], int] = pixel_count,
) -> bool:
    """Return whether so few pixels are left to compute that torch is the fastest engine.

    Args:
        pairs: Source and target of each file.
        skips: Tells of a target whether its file is left as it is.
        count: Tells the number of pixels of a source.
    """
    sources = (source for source, target in pairs if not skips(target))
    first = list(itertools.islice(sources, _FEW_FILES + 1))
    if len(first) > _FEW_FILES:
        return False
    pixels = (count(path) if isinstance(path, Path) else _UNSEEN_PIXELS for path in first)
    return sum(pixels) <= FEW_PIXELS
