"""Purifying image files: the main job."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image

from comdefend.atomic import make_folder
from comdefend.errors import DataMissingError, ImageError, InputError, OutputError
from comdefend.images.files import FORMATS, LOSSY, SUFFIXES, image_paths, read_image, write_image
from comdefend.images.tiling import DEFAULT_TILE, purify_tiled
from comdefend.nn import zoo
from comdefend.nn.purifier import ComDefend

Status = Literal["purified", "skipped", "failed"]


@dataclass(frozen=True)
class PurifiedFile:
    """What became of one file.

    Attributes:
        source: The file read.
        target: The file written, or that would have been.
        status: ``purified``, ``skipped`` (the target was there) or ``failed``.
        error: Why it failed, in one line; empty otherwise.
    """

    source: Path
    target: Path
    status: Status
    error: str = ""


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
    tile: int = DEFAULT_TILE,
    progress: Callable[[PurifiedFile, int], None] | None = None,
) -> list[PurifiedFile]:
    """Purify image files and folders of them.

    A bad file never stops the others: it is returned as ``failed`` with the reason. Outputs are
    written whole or not at all, and those already there are skipped.

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
        tile: Side of the tiles in which large images are computed, in pixels.
        progress: Called after each file with its result and the number of files in all.

    Returns:
        What became of each file, in the order of the inputs.

    Raises:
        InputError: No images, an unknown format, outputs that would collide, a rate that the
            weights do not have, or a purifier in training mode.
        DataMissingError: An input does not exist.
        OutputError: The output folder cannot be made.
        WeightsError: The weights are corrupt.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    unreadable: list[PurifiedFile] = []

    def note(error: OSError) -> None:
        reason = f"cannot be read ({error.strerror})"
        unreadable.append(PurifiedFile(Path(error.filename), Path(output), "failed", reason))

    pairs = plan([Path(i) for i in given], Path(output), format, note)
    if any(SUFFIXES[target.suffix.lower()] in LOSSY for _, target in pairs):
        warnings.warn(
            "JPEG is lossy: what is written is not quite what the purifier returned",
            LossyOutputWarning,
            stacklevel=2,
        )
    purifier = weights if isinstance(weights, ComDefend) else zoo.load(weights)
    if purifier.training:
        raise InputError("the purifier is in training mode; call its eval() first")
    purifier = purifier if bpp is None else purifier.at(bpp)
    purifier = purifier if device is None else purifier.to(device)
    # Better to learn now that nothing can be written than after purifying the first file.
    make_folder(pairs[0][1].parent)
    results = unreadable
    for source, target in pairs:
        result = _purify_file(purifier, source, target, overwrite, tile)
        results.append(result)
        if progress is not None:
            progress(result, len(pairs))
    return results


def plan(
    inputs: list[Path],
    output: Path,
    format: str | None,
    on_error: Callable[[OSError], None] | None = None,
) -> list[tuple[Path, Path]]:
    """Decide what is read and where each result goes, before anything is written.

    Args:
        inputs, output, format: As for `purify_files`.
        on_error: Told of folders that cannot be read.

    Returns:
        Pairs of source and target.

    Raises:
        InputError, DataMissingError, OutputError: As for `purify_files`.
    """
    if format is not None and format not in FORMATS:
        raise InputError(f"unknown format '{format}'; known: {', '.join(FORMATS)}")
    if not inputs:
        raise InputError("no input files or folders were given")
    for path in inputs:
        if not os.path.lexists(path):
            raise DataMissingError(f"{path}: no such file or folder")
    suffix = output.suffix.lower()
    if len(inputs) == 1 and not inputs[0].is_dir() and suffix in SUFFIXES:
        if format is not None and SUFFIXES[suffix] != format:
            raise InputError(f"{output}: its suffix does not go with format '{format}'")
        pairs = [(inputs[0], output)]
    elif suffix in Image.registered_extensions() and not output.is_dir():
        known = ", ".join(SUFFIXES)
        raise InputError(
            f"{output}: give a folder, or for a single input file a file that ends in {known}"
        )
    else:
        if output.exists() and not output.is_dir():
            raise OutputError(f"{output}: is a file, not a folder")
        pairs = _folder_plan(inputs, output, FORMATS[format or "png"][0], on_error)
    # realpath, unlike Path.resolve, makes no error of links that lead in a circle.
    sources = {os.path.realpath(source) for source, _ in pairs}
    for source, target in pairs:
        if os.path.realpath(target) in sources:
            raise InputError(f"{source}: its result would replace an input, {target}")
    return pairs


def _folder_plan(
    inputs: list[Path],
    output: Path,
    suffix: str,
    on_error: Callable[[OSError], None] | None,
) -> list[tuple[Path, Path]]:
    root = os.path.realpath(output)
    found: dict[str, tuple[Path, Path]] = {}  # real path -> source, and its path below the output
    for path in inputs:
        if not path.is_dir():
            found.setdefault(os.path.realpath(path), (path, Path(path.name)))
            continue
        # An output folder inside an input folder holds earlier results, not inputs.
        nested = os.path.realpath(path) != root
        inside = [p for p in image_paths(path, on_error) if not (nested and _is_below(p, root))]
        if not inside:
            raise InputError(f"{path}: holds no images ({', '.join(SUFFIXES)})")
        for source in inside:
            found.setdefault(os.path.realpath(source), (source, source.relative_to(path)))
    shared = Counter(relative.with_suffix(suffix) for _, relative in found.values())
    taken: dict[Path, Path] = {}
    for source, relative in found.values():
        target = output / relative.with_suffix(suffix)
        if shared[relative.with_suffix(suffix)] > 1:
            # photo.jpg beside photo.png: keep the whole name of each.
            target = output / relative.with_name(relative.name + suffix)
        if target in taken:
            raise InputError(f"{taken[target]} and {source} would both become {target}")
        if not _is_below(target, root):
            raise OutputError(f"{target}: a link leads out of {output}")
        taken[target] = source
    return [(source, target) for target, source in taken.items()]


def _is_below(path: Path, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(folder)


def _purify_file(
    purifier: ComDefend, source: Path, target: Path, overwrite: bool, tile: int
) -> PurifiedFile:
    if os.path.lexists(target) and not overwrite:
        return PurifiedFile(source, target, "skipped")
    try:
        image = read_image(source)
        purified = purify_tiled(purifier, image.pixels(purifier.config.channels), tile)
        write_image(target, image.with_pixels(purified))
    except (ImageError, OutputError) as error:
        return PurifiedFile(source, target, "failed", str(error))
    except (MemoryError, torch.OutOfMemoryError):
        return PurifiedFile(source, target, "failed", "needs more memory than there is")
    return PurifiedFile(source, target, "purified")
