"""Data sets by name or path: torchvision's files, parquet as on the Hugging Face hub, folders.

Named data sets are looked for below the folder that ``COMDEFEND_DATA`` names, in the layouts of
the Hugging Face hub and of torchvision. Nothing is downloaded.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from comdefend.data.folders import (
    Split,
    find_classes,
    find_test_split,
    find_training_images,
    subfolders,
)
from comdefend.data.image_files import image_paths
from comdefend.data.image_set import ImageSet
from comdefend.data.listing import Listing, Wanted, fit_set
from comdefend.data.readers import list_files, list_folders, list_parquet, read_cifar, read_idx
from comdefend.errors import DataMissingError, InputError

_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_FASHION = "t-shirt trouser pullover dress coat sandal shirt sneaker bag ankle-boot"


@dataclass(frozen=True)
class NamedData:
    """A data set with a name.

    Attributes:
        torchvision_class: The class of torchvision that downloads it.
        channels: 3 (RGB) or 1 (grey).
        classes: Names of the classes, in the order of the labels; may be empty.
        idx_folders: Where its IDX files may lie.
        cifar_folder: Where torchvision keeps its files of CIFAR.
    """

    torchvision_class: str
    channels: int
    classes: tuple[str, ...] = ()
    idx_folders: tuple[str, ...] = ()
    cifar_folder: str | None = None


DATASETS: dict[str, NamedData] = {
    "cifar10": NamedData("CIFAR10", 3, tuple(_CIFAR10.split()), cifar_folder="cifar-10-batches-py"),
    "cifar100": NamedData("CIFAR100", 3, cifar_folder="cifar-100-python"),
    "fashion-mnist": NamedData(
        "FashionMNIST", 1, tuple(_FASHION.split()), ("fashion-mnist", "FashionMNIST/raw")
    ),
    "mnist": NamedData("MNIST", 1, tuple("0123456789"), ("mnist", "MNIST/raw")),
}
"""Name -> data set."""

SOURCES: dict[str, str] = {
    **dict.fromkeys(DATASETS, "below the folder that COMDEFEND_DATA names"),
    "parquet:PATH": "a file, or a folder with train*.parquet and test*.parquet, as on the hub",
    "folder:PATH": "PATH/CLASS/*.png, or PATH/SPLIT/CLASS/*.png (train, and test or val)",
}
"""The forms of a data set's name -> what it is, in a phrase."""


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
    kind, path = _parse(spec)
    wanted = wanted or Wanted()
    wanted = replace(wanted, channels=channels or wanted.channels)
    if kind == "parquet":
        return _parquet_listing(path, split).read(wanted)
    if kind == "folder":
        return list_folders(find_classes(path, split), path).read(wanted)
    return _load_named(kind, split, wanted)


def has_test_split(spec: str) -> bool:
    """Return whether a data set has test images apart from those to train on."""
    kind, path = _parse(spec)
    if kind == "parquet":
        return path.is_dir() and bool(_matching_parquet(path, "test")[0])
    return kind != "folder" or find_test_split(path) is not None


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
    kind, path = _parse(spec)
    if kind != "folder":
        return load_image_set(spec, "train", channels).images
    folder = find_training_images(path)
    if not (paths := image_paths(folder)):
        raise DataMissingError(f"{folder}: holds no images")
    list_files(folder, paths).check()
    return paths


def _parse(spec: str) -> tuple[str, Path]:
    kind, colon, rest = spec.partition(":")
    if colon and kind in ("parquet", "folder") and rest:
        return kind, _found_below(Path(rest).expanduser())
    if not colon and kind in DATASETS:
        return kind, Path()
    raise InputError(f"unknown data set '{spec}'; known: {', '.join(SOURCES)}")


def _found_below(path: Path) -> Path:
    """Return a path, or the same below ``COMDEFEND_DATA`` if it exists only there."""
    below = Path(os.environ.get("COMDEFEND_DATA", "")).expanduser() / path
    return below if not path.exists() and below.exists() else path


def _load_named(name: str, split: Split, wanted: Wanted) -> ImageSet:
    named = DATASETS[name]
    hint = (
        f'python -c "import torchvision; torchvision.datasets.{named.torchvision_class}'
        "('DATA', download=True)\""
    )
    if not (place := os.environ.get("COMDEFEND_DATA")):
        raise DataMissingError(
            f"data set '{name}': set COMDEFEND_DATA to the folder that holds it; "
            f"to download it into a folder DATA, run: {hint}"
        )
    root = Path(place).expanduser()
    channels = wanted.channels or named.channels
    files, _ = _matching_parquet(root / name, split)
    if files:
        return list_parquet(files, named.classes).read(replace(wanted, channels=channels))
    prefix = "train" if split == "train" else "t10k"
    for folder in named.idx_folders:
        images = _idx_file(root / folder / f"{prefix}-images-idx3-ubyte")
        labels = _idx_file(root / folder / f"{prefix}-labels-idx1-ubyte")
        if images and labels:
            return fit_set(read_idx(images, labels, named.classes, channels), wanted)
    if named.cifar_folder and (root / named.cifar_folder).is_dir():
        data = read_cifar(root, named.torchvision_class, split == "train", channels)
        return fit_set(data, wanted)
    raise DataMissingError(
        f"data set '{name}' is not in {root}; "
        f"to download it, run, with that folder for DATA: {hint}"
    )


def _idx_file(path: Path) -> Path | None:
    return next((p for p in (path, path.with_name(path.name + ".gz")) if p.is_file()), None)


def _parquet_listing(path: Path, split: Split) -> Listing:
    if path.is_file():
        return list_parquet([path], ())
    files, name = _matching_parquet(path, split)
    if not files:
        raise DataMissingError(f"{path}: no such parquet file, nor a folder with {split}*.parquet")
    listing = list_parquet(files, ())
    if name == split:
        return listing
    note = f"{path}: has no test images; those of {files[0].relative_to(path)} are taken"
    return replace(listing, notes=(note,))


def _matching_parquet(folder: Path, split: Split) -> tuple[list[Path], str]:
    """Return the files of a split, from one place, and what it is called there.

    The hub keeps them in the folder, in ``data``, or in a folder named by the configuration.
    """
    if not folder.is_dir():
        return [], split
    configurations = [p for p in subfolders(folder) if p.name != "data"]
    for name in ("train",) if split == "train" else ("test", "val"):
        for place in (folder, folder / "data"):
            if files := _parquet_in(place, name):
                return files, name
        found = {p.name: files for p in configurations if (files := _parquet_in(p, name))}
        if len(found) > 1:
            raise InputError(f"{folder}: holds {', '.join(found)}; name the folder of one of them")
        if found:
            return next(iter(found.values())), name
    return [], split


def _parquet_in(place: Path, name: str) -> list[Path]:
    return sorted(place.glob(f"{name}*.parquet")) or sorted(place.glob(f"{name}*/*.parquet"))
