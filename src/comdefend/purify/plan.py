"""Which files are purified, and where each result goes."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePath

from PIL import Image

from comdefend.common.places import Place, exists, real
from comdefend.common.remote import RemotePath
from comdefend.data.image_files import FORMATS, PLUGINS, image_paths, readable_suffixes
from comdefend.errors import DataMissingError, InputError, OutputError


def plan(
    inputs: Sequence[Place],
    output: Place,
    format: str | None,
    on_error: Callable[[OSError], None] | None = None,
    on_skip: Callable[[Place], None] | None = None,
    *,
    reads: Collection[str] | None = None,
    writes: Mapping[str, tuple[str, ...]] = FORMATS,
) -> list[tuple[Place, Place]]:
    """Decide what is read and where each result goes, before anything is written.

    Args:
        inputs: Image files, and folders that are searched recursively, here or at addresses.
        output: A folder, in which the structure of input folders is kept; or, for a single input
            file, the file to write, if its suffix is that of an image.
        format: One that is written, or a suffix of one; by default the suffix of an output file,
            else the first.
        on_error: Called for folders that cannot be read, and for names at addresses that could
            lead out of the output.
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
        RemoteError: An address cannot be reached.
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
    given = [(path, path.is_dir()) for path in inputs]
    for path, is_folder in given:
        if not is_folder and not exists(path):
            raise DataMissingError(f"{path}: no such file or folder")
    suffix = output.suffix.lower()
    if len(given) == 1 and not given[0][1] and suffix in suffixes:
        if format is not None and suffixes[suffix] != format:
            raise InputError(f"{output}: its suffix does not fit format '{format}'")
        pairs = [(given[0][0], output)]
    elif suffix in {*Image.registered_extensions(), *PLUGINS, *reads} and not output.is_dir():
        raise InputError(
            f"{output}: give a folder, or for a single input file a file that ends in "
            f"{', '.join(suffixes)}"
        )
    else:
        if not output.is_dir() and output.exists():
            raise OutputError(f"{output}: is a file, not a folder")
        written = writes[format or next(iter(writes))][0]
        pairs = _folder_plan(given, output, written, reads, on_error, on_skip)
    sources = {real(source) for source, _ in pairs}
    for source, target in pairs:
        if real(target) in sources:
            raise InputError(f"{source}: its result would replace an input, {target}")
    return pairs


def _folder_plan(
    given: list[tuple[Place, bool]],
    output: Place,
    suffix: str,
    reads: Collection[str],
    on_error: Callable[[OSError], None] | None,
    on_skip: Callable[[Place], None] | None,
) -> list[tuple[Place, Place]]:
    root = real(output)
    # Place -> source, path relative to the output.
    sources: dict[PurePath, tuple[Place, PurePath]] = {}
    for path, is_folder in given:
        if not is_folder:
            if _place(path).parent == root:
                raise InputError(
                    f"{output}: holds the input {path.name}, and results would be the next run's "
                    "inputs; give another folder, or for a single input the file to write"
                )
            sources.setdefault(_place(path), (path, PurePath(path.name)))
            continue
        if real(path) == root:
            raise InputError(
                f"{output}: is an input folder, and results would be the next run's inputs; give "
                "another folder"
            )
        inside = _images_in(path, root, reads, on_error, on_skip)
        if not inside:
            raise InputError(f"{path}: holds no images ({', '.join(sorted(reads))})")
        for source, relative in inside:
            sources.setdefault(_place(source), (source, relative))
    pairs = _with_targets(sources.values(), output, suffix)
    folders = [real(path) for path, is_folder in given if is_folder]
    for _, target in pairs:
        if not real(target).is_relative_to(root):
            raise OutputError(f"{target}: a link leads out of {output}")
        # Results below an output folder that lies in an input folder are left out above.
        for folder in folders:
            if not root.is_relative_to(folder) and real(target).is_relative_to(folder):
                raise InputError(
                    f"{target}: lies in the input folder {folder}, and would be the next run's "
                    "input; give another output folder"
                )
    return pairs


def _images_in(
    folder: Place,
    root: PurePath,
    reads: Collection[str],
    on_error: Callable[[OSError], None] | None,
    on_skip: Callable[[Place], None] | None,
) -> list[tuple[Place, PurePath]]:
    """Return the images below a folder, each with its path relative to it.

    Earlier results in an output folder inside it are left out.
    """
    nested = root.is_relative_to(real(folder))

    def is_result(path: Place) -> bool:
        return nested and _place(path).is_relative_to(root)

    def skip(path: Place) -> None:
        if on_skip is not None and not is_result(path):
            on_skip(path)

    found: list[tuple[Place, PurePath]] = []
    if isinstance(folder, Path):
        paths = image_paths(folder, on_error, skip, reads)
        found += [(path, path.relative_to(folder)) for path in paths]
    else:
        for file, relative in folder.files(on_error):
            if any(part.startswith(".") for part in relative.parts):
                continue
            if relative.suffix.lower() in reads:
                found.append((file, relative))
            else:
                skip(file)
    return [(path, relative) for path, relative in found if not is_result(path)]


def _with_targets(
    sources: Iterable[tuple[Place, PurePath]], output: Place, suffix: str
) -> list[tuple[Place, Place]]:
    """Return source and target of each source and its path relative to the output."""
    sources = list(sources)
    fold = str.casefold if _ignores_case(output) else str
    shared = Counter(fold(str(relative.with_suffix(suffix))) for _, relative in sources)
    taken: dict[str, tuple[Place, Place]] = {}
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


def _ignores_case(output: Place) -> bool:
    """Return whether the disk of a folder, which may not exist yet, ignores case in names."""
    if isinstance(output, RemotePath):
        return False
    for folder in (path := Path(os.path.realpath(output)), *path.parents):
        other = folder.with_name(folder.name.swapcase()) if folder.name else folder
        if folder.exists() and other.name != folder.name:
            return other.exists() and other.samefile(folder)
    return False


def _place(path: Place) -> PurePath:
    """Return where a file is, links to its folder resolved; a link to a file is a file itself."""
    return path.pure if isinstance(path, RemotePath) else real(path.parent) / path.name
