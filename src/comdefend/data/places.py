"""Where data sets lie: their names and their files, found without reading any of them.

Named data sets are looked for below the folder that ``COMDEFEND_DATA`` names, in the layouts of
the Hugging Face hub and of torchvision. Nothing is downloaded.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from comdefend.data.folders import Split, find_classes, subfolders
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


@dataclass(frozen=True)
class Found:
    """The files of a named data set; one of the three is there.

    Attributes:
        parquet: Files as on the hub.
        idx: Images and labels.
        cifar: The folder that holds torchvision's folder of CIFAR.
    """

    parquet: tuple[Path, ...] = ()
    idx: tuple[Path, Path] | None = None
    cifar: Path | None = None


def parse_source(spec: str) -> tuple[str, Path]:
    """Return a data set's name, or ``parquet`` or ``folder``, and then its path.

    Raises:
        InputError: It is none of the forms in `SOURCES`.
    """
    kind, colon, rest = spec.partition(":")
    if colon and kind in ("parquet", "folder") and rest:
        return kind, _found_below(Path(rest).expanduser())
    if not colon and kind in DATASETS:
        return kind, Path()
    raise InputError(f"unknown data set '{spec}'; known: {', '.join(SOURCES)}")


def check_present(spec: str, split: Split) -> None:
    """Check that the files of a data set are where they should be, without reading them.

    Raises:
        InputError: The spec is not understood.
        DataMissingError: They are not there; the message says how to get them.
    """
    kind, path = parse_source(spec)
    if kind == "folder":
        find_classes(path, split)
    elif kind == "parquet":
        find_parquet(path, split)
    else:
        find_named(kind, split)


def find_parquet(path: Path, split: Split) -> tuple[list[Path], str]:
    """Return the parquet files of a split, and what it is called there.

    Raises:
        DataMissingError: There are none.
    """
    if path.is_file():
        return [path], split
    files, name = matching_parquet(path, split)
    if not files:
        raise DataMissingError(f"{path}: no such parquet file, nor a folder with {split}*.parquet")
    return files, name


def find_named(name: str, split: Split) -> Found:
    """Return the files of a data set with a name.

    Raises:
        DataMissingError: There are none; the message says how to get them.
    """
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
    if files := matching_parquet(root / name, split)[0]:
        return Found(parquet=tuple(files))
    prefix = "train" if split == "train" else "t10k"
    for folder in named.idx_folders:
        images = _idx_file(root / folder / f"{prefix}-images-idx3-ubyte")
        labels = _idx_file(root / folder / f"{prefix}-labels-idx1-ubyte")
        if images and labels:
            return Found(idx=(images, labels))
    if named.cifar_folder and (root / named.cifar_folder).is_dir():
        return Found(cifar=root)
    raise DataMissingError(
        f"data set '{name}' is not in {root}; "
        f"to download it, run, with that folder for DATA: {hint}"
    )


def matching_parquet(folder: Path, split: Split) -> tuple[list[Path], str]:
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


def _found_below(path: Path) -> Path:
    """Return a path, or the same below ``COMDEFEND_DATA`` if it exists only there."""
    below = Path(os.environ.get("COMDEFEND_DATA", "")).expanduser() / path
    return below if not path.exists() and below.exists() else path


def _idx_file(path: Path) -> Path | None:
    return next((p for p in (path, path.with_name(path.name + ".gz")) if p.is_file()), None)


def _parquet_in(place: Path, name: str) -> list[Path]:
    return sorted(place.glob(f"{name}*.parquet")) or sorted(place.glob(f"{name}*/*.parquet"))
