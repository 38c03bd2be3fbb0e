"""Which files are purified, and where each result goes."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from comdefend.data.image_files import FORMATS, SUFFIXES, image_paths
from comdefend.errors import DataMissingError, InputError, OutputError


def plan(
    inputs: list[Path],
    output: Path,
    format: str | None,
    on_error: Callable[[OSError], None] | None = None,
) -> list[tuple[Path, Path]]:
    """Decide what is read and where each result goes, before anything is written.

    Args:
        inputs: Image files, and folders that are searched recursively.
        output: A folder, in which the structure of input folders is kept; or, for a single input
            file, the file to write, if its suffix is that of an image.
        format: One of `FORMATS`; by default the suffix of an output file, else PNG.
        on_error: Called for folders that cannot be read.

    Returns:
        Pairs of source and target.

    Raises:
        InputError: No images, an unknown format, or outputs that would collide.
        DataMissingError: An input does not exist.
        OutputError: The output is a file, or a link leads out of it.
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
            raise InputError(f"{output}: its suffix does not fit format '{format}'")
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
    # Unlike Path.resolve, realpath does not raise on links that lead in a circle.
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
    sources: dict[str, tuple[Path, Path]] = {}  # real path -> source, path relative to the output
    for path in inputs:
        if not path.is_dir():
            sources.setdefault(os.path.realpath(path), (path, Path(path.name)))
            continue
        # An output folder inside an input folder holds earlier results, not inputs.
        nested = os.path.realpath(path) != root
        inside = [p for p in image_paths(path, on_error) if not (nested and _is_below(p, root))]
        if not inside:
            raise InputError(f"{path}: holds no images ({', '.join(SUFFIXES)})")
        for source in inside:
            sources.setdefault(os.path.realpath(source), (source, source.relative_to(path)))
    shared = Counter(relative.with_suffix(suffix) for _, relative in sources.values())
    taken: dict[Path, Path] = {}
    for source, relative in sources.values():
        target = output / relative.with_suffix(suffix)
        if shared[relative.with_suffix(suffix)] > 1:
            # For example photo.jpg and photo.png: both keep their whole name.
            target = output / relative.with_name(relative.name + suffix)
        if target in taken:
            raise InputError(f"{taken[target]} and {source} would both become {target}")
        if not _is_below(target, root):
            raise OutputError(f"{target}: a link leads out of {output}")
        taken[target] = source
    return [(source, target) for target, source in taken.items()]


def _is_below(path: Path, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(folder)
