"""Data sets by name or path: torchvision's files, parquet as on the Hugging Face hub, folders.

`places` says where they lie; nothing is downloaded.
"""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from comdefend.data.folders import Split, find_classes, find_test_split, find_training_images
from comdefend.data.image_files import image_paths
from comdefend.data.image_set import ImageSet
from comdefend.data.listing import Listing, Wanted, fit_set
from comdefend.data.places import (
    DATASETS,
    find_named,
    find_parquet,
    matching_parquet,
    parse_source,
)
from comdefend.data.readers import list_files, list_folders, list_parquet, read_cifar, read_idx
from comdefend.errors import DataMissingError


def load_image_set(
    spec: str, split: Split, channels: int | None = None, wanted: Wanted | None = None
) -> ImageSet:
    """Load labelled images of one size into memory; only those that are wanted are decoded.

    Args:
        spec: One of the forms in `SOURCES`. A relative path is also looked for below
            ``COMDEFEND_DATA``.
        split: ``train`` or ``test``.
        channels: Convert images to 3 (RGB) or 1 (grey) channels; by default they stay as they are,
            and become RGB where they differ.
        wanted: Which images, and of which size; by default all as they are.

    Raises:
        InputError: The spec is not understood, or the images differ in size.
        DataMissingError: The data is not there; the message says how to get it.
        ImageError: One of its files is damaged.
        ExtraMissingError: The library that reads it is not installed.
    """
    kind, path = parse_source(spec)
    wanted = wanted or Wanted()
    wanted = replace(wanted, channels=channels or wanted.channels)
    if kind == "parquet":
        return _parquet_listing(path, split).read(wanted)
    if kind == "folder":
        return list_folders(find_classes(path, split), path).read(wanted)
    return _load_named(kind, split, wanted)


def name_test_split(spec: str) -> str | None:
    """Return what a data set calls its test images, or the split that stands in for them.

    None where it has no labelled images apart from those to train on.
    """
    kind, path = parse_source(spec)
    if kind == "folder":
        found = find_test_split(path)
        return None if found is None else found.name
    if kind == "parquet":
        files, name = matching_parquet(path, "test")
        return name if files else None
    return "test"


def load_training_images(spec: str, channels: int) -> Tensor | list[Path]:
    """Return the images that a purifier trains on: in memory, or the files of a folder.

    Args:
        spec: As for `load_image_set`; a folder needs no classes here, and its images may differ
            in size.
        channels: 3 (RGB) or 1 (grey).

    Returns:
        (N, C, H, W) uint8, or paths.

    Raises:
        As for `load_image_set`.
    """
    kind, path = parse_source(spec)
    if kind != "folder":
        return load_image_set(spec, "train", channels).images
    folder = find_training_images(path)
    if not (paths := image_paths(folder)):
        raise DataMissingError(f"{folder}: holds no images")
    list_files(folder, paths).check()
    return paths


def _load_named(name: str, split: Split, wanted: Wanted) -> ImageSet:
    named, found = DATASETS[name], find_named(name, split)
    channels = wanted.channels or named.channels
    if found.parquet:
        wanted = replace(wanted, channels=channels)
        return list_parquet(list(found.parquet), named.classes).read(wanted)
    if found.idx is not None:
        return fit_set(read_idx(*found.idx, named.classes, channels), wanted)
    assert found.cifar is not None
    data = read_cifar(found.cifar, named.torchvision_class, split == "train", channels)
    return fit_set(data, wanted)


def _parquet_listing(path: Path, split: Split) -> Listing:
    files, name = find_parquet(path, split)
    listing = list_parquet(files, ())
    if name == split:
        return listing
    note = f"{path}: has no test images; those of {files[0].relative_to(path)} are taken"
    return replace(listing, notes=(note,))
