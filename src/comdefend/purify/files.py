"""Purifying image files: the main job."""

import itertools
import os
import warnings
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import torch

from comdefend.common.atomic import make_folder
from comdefend.data.image_files import LOSSY, SUFFIXES, pixel_count, quiet_decoders
from comdefend.engines.opening import open_engine
from comdefend.nn.purifier import ComDefend
from comdefend.purify.pipeline import PurifiedFile, purify_pairs
from comdefend.purify.plan import plan
from comdefend.purify.tiling import DEFAULT_TILE, check_tile
from comdefend.weights import zoo

# Opening OpenVINO takes as long as it then saves on 2 megapixels, measured with the paper's network
# on two cores; torch opens at once.
_FEW_PIXELS = 2_000_000
# Looking at the size of more files than this would itself take time.
_FEW_FILES = 64


class LossyOutputWarning(UserWarning):
    """The output format changes the purified pixels once more."""


def purify_files(
    inputs: str | Path | Iterable[str | Path],
    output: str | Path,
    weights: str | Path | ComDefend = "rgb-12bpp",
    *,
    bpp: float | None = None,
    format: str | None = None,
    overwrite: bool = False,
    device: torch.device | str | None = None,
    engine: str = "auto",
    precision: str = "auto",
    tile: int = DEFAULT_TILE,
    progress: Callable[[PurifiedFile, int], None] | None = None,
) -> list[PurifiedFile]:
    """Purify image files and folders of them.

    A bad file never stops the others: it is returned as ``failed`` with the reason. Outputs are
    written whole or not at all, and those already there are skipped. Files are read ahead and
    written behind while the engine computes; memory is bounded, however many they are.

    Args:
        inputs: Image files, and folders that are searched recursively; one or many.
        output: A folder, below which the structure of input folders is kept; or, for a single
            input file, the file to write, if its suffix is one of an image.
        weights: A purifier in evaluation mode, the name of shipped weights, or the path of a
            weight file.
        bpp: Bits a pixel, for weights that work at several; by default the most.
        format: ``png``, ``jpeg``, ``webp``, ``tiff`` or ``bmp``; by default the suffix of an
            output file, else PNG. Only JPEG is lossy, and warns of it once.
        overwrite: Purify again what was purified before.
        device: Where to compute; by default where the purifier is, or the CPU.
        engine: What computes, as for `open_engine`; ``auto`` takes torch where there is too
            little to do to make up for opening a faster one.
        precision: What it computes in, as for `open_engine`.
        tile: Side of the tiles in which large images are computed, in pixels.
        progress: Called after each file, in order, with its result and the number of files in all.

    Returns:
        What became of each file, in the order of the inputs.

    Raises:
        InputError: No images, an unknown format, outputs that would collide, a rate that the
            weights do not have, an unknown engine or precision, one that is not for this purifier
            or hardware, a tile below 1 pixel, or a purifier in training mode.
        DataMissingError: An input does not exist.
        ExtraMissingError: The engine is not installed.
        OutputError: The output folder cannot be made.
        WeightsError: The weights are corrupt.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    unreadable: list[PurifiedFile] = []

    def note(error: OSError) -> None:
        reason = f"cannot be read ({error.strerror})"
        unreadable.append(PurifiedFile(Path(error.filename), Path(output), "failed", reason))

    check_tile(tile)
    pairs = plan([Path(i) for i in given], Path(output), format, note)
    if any(SUFFIXES[target.suffix.lower()] in LOSSY for _, target in pairs):
        warnings.warn(
            "JPEG is lossy: what is written is not quite what the purifier returned",
            LossyOutputWarning,
            stacklevel=2,
        )
    purifier = weights if isinstance(weights, ComDefend) else zoo.load(weights)
    purifier = purifier if bpp is None else purifier.at(bpp)
    purifier = purifier if device is None else purifier.to(device)
    with quiet_decoders():
        if (engine, precision) == ("auto", "auto") and _is_little(pairs, overwrite):
            engine = "torch"
        opened = open_engine(purifier, engine, precision)
        # Better to learn now that nothing can be written than after purifying the first file.
        make_folder(pairs[0][1].parent)
        results = unreadable
        with closing(purify_pairs(opened, pairs, overwrite, tile)) as purified:
            for result in purified:
                results.append(result)
                if progress is not None:
                    progress(result, len(pairs))
    return results


def _is_little(pairs: list[tuple[Path, Path]], overwrite: bool) -> bool:
    sources = (source for source, target in pairs if overwrite or not os.path.lexists(target))
    first = list(itertools.islice(sources, _FEW_FILES + 1))
    return len(first) <= _FEW_FILES and sum(map(pixel_count, first)) <= _FEW_PIXELS
