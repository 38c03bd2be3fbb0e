"""Purifying image files: the main job."""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

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
        error: Why it failed, in one line without the path; empty otherwise.
    """

    source: Path
    target: Path
    status: Status
    error: str = ""


class LossyOutputWarning(UserWarning):
    """The output format changes the purified pixels once more."""


def purify_files(
    inputs: Iterable[str | Path],
    output: str | Path,
    weights: str | ComDefend = "rgb-12bpp",
    *,
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
        inputs: Image files, and folders that are searched recursively.
        output: A folder, below which the structure of input folders is kept; or, for a single
            input file, the file to write, if its suffix is one of an image.
        weights: A purifier in evaluation mode, the name of shipped weights, or the path of a
            weight file.
        format: ``png``, ``jpeg``, ``webp``, ``tiff`` or ``bmp``; by default the suffix of an
            output file, else PNG. Only JPEG is lossy, and warns of it once.
        overwrite: Purify again what was purified before.
        device: Where to compute; by default where the purifier is, or the CPU.
        tile: Side of the tiles in which large images are computed, in pixels.
        progress: Called after each file with its result and the number of files in all.

    Returns:
        What became of each file, in the order of the inputs.

    Raises:
        InputError: No images, an unknown format, outputs that would collide, or a purifier in
            training mode.
        DataMissingError: An input does not exist.
        OutputError: The output folder cannot be made.
        WeightsError: The weights are corrupt.
    """
    pairs = plan([Path(i) for i in inputs], Path(output), format)
    if any(SUFFIXES[target.suffix.lower()] in LOSSY for _, target in pairs):
        warnings.warn(
            "JPEG is lossy: what is written is not quite what the purifier returned",
            LossyOutputWarning,
            stacklevel=2,
        )
    purifier = zoo.load(weights) if isinstance(weights, str) else weights
    if purifier.training:
        raise InputError("the purifier is in training mode; call its eval() first")
    purifier = purifier if device is None else purifier.to(device)
    # Better to learn now that nothing can be written than after purifying the first file.
    make_folder(pairs[0][1].parent)
    results = []
    for source, target in pairs:
        result = _purify_file(purifier, source, target, overwrite, tile)
        results.append(result)
        if progress is not None:
            progress(result, len(pairs))
    return results


def plan(inputs: list[Path], output: Path, format: str | None) -> list[tuple[Path, Path]]:
    """Decide what is read and where each result goes, before anything is written.

    Args:
        inputs, output, format: As for `purify_files`.

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
        if not path.exists():
            raise DataMissingError(f"{path}: no such file or folder")
    if len(inputs) == 1 and inputs[0].is_file() and output.suffix.lower() in SUFFIXES:
        if format is not None and SUFFIXES[output.suffix.lower()] != format:
            raise InputError(f"{output}: its suffix does not go with format '{format}'")
        pairs = [(inputs[0], output)]
    else:
        if output.exists() and not output.is_dir():
            raise OutputError(f"{output}: is a file, not a folder")
        pairs = _folder_plan(inputs, output, FORMATS[format or "png"][0])
    sources = {source.resolve() for source, _ in pairs}
    for source, target in pairs:
        if target.resolve() in sources:
            raise InputError(f"{source}: its result would replace an input, {target}")
    return pairs


def _folder_plan(inputs: list[Path], output: Path, suffix: str) -> list[tuple[Path, Path]]:
    found: list[tuple[Path, Path]] = []  # source, and its path below the output folder
    for path in inputs:
        if path.is_dir():
            # An output folder inside an input folder holds earlier results, not inputs.
            nested = path.resolve() != output.resolve()
            inside = [
                p
                for p in image_paths(path)
                if not (nested and p.resolve().is_relative_to(output.resolve()))
            ]
            if not inside:
                raise InputError(f"{path}: holds no images ({', '.join(SUFFIXES)})")
            found += [(p, p.relative_to(path)) for p in inside]
        else:
            found.append((path, Path(path.name)))
    targets = defaultdict(list)
    for source, relative in found:
        targets[relative.with_suffix(suffix)].append((source, relative))
    pairs = {}
    for target, group in targets.items():
        for source, relative in group:
            # photo.jpg beside photo.png: keep the whole name of each.
            full = relative.with_name(relative.name + suffix)
            pairs[source] = output / (target if len(group) == 1 else full)
    taken: dict[Path, Path] = {}
    for source, target in pairs.items():
        if target in taken:
            raise InputError(f"{taken[target]} and {source} would both become {target}")
        taken[target] = source
        if not target.resolve().is_relative_to(output.resolve()):
            raise OutputError(f"{target}: a link leads out of {output}")
    return [(source, pairs[source]) for source in dict.fromkeys(s for s, _ in found)]


def _purify_file(
    purifier: ComDefend, source: Path, target: Path, overwrite: bool, tile: int
) -> PurifiedFile:
    if target.exists() and not overwrite:
        return PurifiedFile(source, target, "skipped")
    try:
        image = read_image(source)
        purified = purify_tiled(purifier, image.pixels(purifier.config.channels), tile)
        write_image(target, image.with_pixels(purified))
    except (ImageError, OutputError) as error:
        return PurifiedFile(source, target, "failed", str(error))
    return PurifiedFile(source, target, "purified")
