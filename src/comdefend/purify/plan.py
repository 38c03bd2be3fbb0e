"""Which files are purified, and where each result goes."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from PIL import Image

from comdefend.data.image_files import FORMATS, PLUGINS, image_paths, readable_suffixes
from comdefend.errors import DataMissingError, InputError, OutputError


def plan(
    inputs: list[Path],
    output: Path,
    format: str | None,
    on_error: Callable[[OSError], None] | None = None,
    on_skip: Callable[[Path], None] | None = None,
    *,
    reads: Collection[str] | None = None,
    writes: Mapping[str, tuple[str, ...]] = FORMATS,
) -> list[tuple[Path, Path]]:
    """Decide what is read and where each result goes, before anything is written.

    Args:
        inputs: Image files, and folders that are searched recursively.
        output: A folder, in which the structure of input folders is kept; or, for a single input
            file, the file to write, if its suffix is that of an image.
        format: One that is written, or a suffix of one; by default the suffix of an output file,
            else the first.
        on_error: Called for folders that cannot be read.
        on_skip: Called for what else folders hold: other files, and links to folders.
        reads: Suffixes of the inputs; by default those of images.
        writes: Formats of the outputs, each with its suffixes.

    Returns:
        Pairs of source and target.

    Raises:
        InputError: No images, an unknown format, outputs that would collide, or that would be
            inputs of the next run.
        DataMissingError: An input does not exist.
        OutputError: The output is a file, or a link leads out of it.
    """
    reads = readable_suffixes() if reads is None else reads
    suffixes = {suffix: name for name, its in writes.items() for suffix in its}
    if format is not None:
        # JPG and .tif are formats to most people.
        known = suffixes.get("." + format.lower().removeprefix("."))
        if known is None:
            raise InputError(f"unknown format '{format}'; known: {', '.join(writes)}")
        format = known
    if not inputs:
        raise InputError("no input files or folders were given")
    for path in inputs:
        if not os.path.lexists(path):
            raise DataMissingError(f"{path}: no such file or folder")
    suffix = output.suffix.lower()
    if len(inputs) == 1 and not inputs[0].is_dir() and suffix in suffixes:
        if format is not None and suffixes[suffix] != format:
            raise InputError(f"{output}: its suffix does not fit format '{format}'")
        pairs = [(inputs[0], output)]
    elif suffix in {*Image.registered_extensions(), *PLUGINS, *reads} and not output.is_dir():
        raise InputError(
            f"{output}: give a folder, or for a single input file a file that ends in "
            f"{', '.join(suffixes)}"
        )
    else:
        if output.exists() and not output.is_dir():
            raise OutputError(f"{output}: is a file, not a folder")
        written = writes[format or next(iter(writes))][0]
        pairs = _folder_plan(inputs, output, written, reads, on_error, on_skip)
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
    reads: Collection[str],
    on_error: Callable[[OSError], None] | None,
    on_skip: Callable[[Path], None] | None,
) -> list[tuple[Path, Path]]:
    root = os.path.realpath(output)
    sources: dict[Path, tuple[Path, Path]] = {}  # place -> source, path relative to the output
    for path in inputs:
        if not path.is_dir():
            if _place(path).parent == Path(root):
                raise InputError(
                    f"{output}: holds the input {path.name}, and results would be the next run's "
                    "inputs; give another folder, or for a single input the file to write"
                )
            sources.setdefault(_place(path), (path, Path(path.name)))
            continue
        if os.path.realpath(path) == root:
            raise InputError(
                f"{output}: is an input folder, and results would be the next run's inputs; give "
                "another folder"
            )
        inside = _images_in(path, root, reads, on_error, on_skip)
        if not inside:
            raise InputError(f"{path}: holds no images ({', '.join(sorted(reads))})")
        for source in inside:
            sources.setdefault(_place(source), (source, source.relative_to(path)))
    pairs = _with_targets(sources.values(), output, suffix)
    folders = [os.path.realpath(path) for path in inputs if path.is_dir()]
    for _, target in pairs:
        if not _is_below(target, root):
            raise OutputError(f"{target}: a link leads out of {output}")
        # Results below an output folder that lies in an input folder are left out above.
        for folder in folders:
            if not _is_below(output, folder) and _is_below(target, folder):
                raise InputError(
                    f"{target}: lies in the input folder {folder}, and would be the next run's "
                    "input; give another output folder"
                )
    return pairs


def _images_in(
    folder: Path,
    root: str,
    reads: Collection[str],
    on_error: Callable[[OSError], None] | None,
    on_skip: Callable[[Path], None] | None,
) -> list[Path]:
    """Return the images below a folder, without earlier results in an output folder inside it."""

    def skip(path: Path) -> None:
        if on_skip is not None and not _place(path).is_relative_to(root):
            on_skip(path)

    nested = _is_below(Path(root), os.path.realpath(folder))
    found = image_paths(folder, on_error, skip, reads)
    return [path for path in found if not (nested and _place(path).is_relative_to(root))]


def _with_targets(
    sources: Iterable[tuple[Path, Path]], output: Path, suffix: str
) -> list[tuple[Path, Path]]:
    """Return source and target of each source and its path relative to the output."""
    sources = list(sources)
    fold = str.casefold if _ignores_case(output) else str
    shared = Counter(fold(str(relative.with_suffix(suffix))) for _, relative in sources)
    taken: dict[str, tuple[Path, Path]] = {}
    for source, relative in sources:
        name = relative.with_suffix(suffix)
        if shared[fold(str(name))] > 1:
            # For example photo.jpg and photo.png: both keep their whole name.
            name = relative.with_name(relative.name + suffix)
        target = output / name
        other, its = taken.setdefault(fold(str(name)), (source, target))
        if other != source:
            same = "" if its == target else ", as the disk does not tell upper from lower case"
            raise InputError(f"{other} and {source} would both become {target}{same}")
    return list(taken.values())


def _ignores_case(output: Path) -> bool:
    """Return whether the disk of a folder, which may not exist yet, ignores case in names."""
    for folder in (path := Path(os.path.realpath(output)), *path.parents):
        other = folder.with_name(folder.name.swapcase()) if folder.name else folder
        if folder.exists() and other.name != folder.name:
            return other.exists() and other.samefile(folder)
    return False


def _place(path: Path) -> Path:
    """Return where a file is, links to its folder resolved; a link to a file is a file itself."""
    return Path(os.path.realpath(path.parent), path.name)


def _is_below(path: Path, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(folder)
