"""Where data sets come from: torchvision's files, parquet in the Hugging Face layout, folders.

Named data sets are looked for below the folder that ``COMDEFEND_DATA`` names, in the layouts that
the Hugging Face hub and torchvision use; nothing is downloaded behind a user's back.
"""

import gzip
import io
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from comdefend.common.extras import require
from comdefend.data.image_files import ReadImage, decode_image, image_paths, read_image
from comdefend.data.image_set import ImageSet
from comdefend.errors import DataMissingError, ImageError, InputError

Split = Literal["train", "test"]

_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_FASHION = "t-shirt trouser pullover dress coat sandal shirt sneaker bag ankle-boot"


@dataclass(frozen=True)
class _Named:
    """A data set that users name without a path."""

    torchvision_class: str
    channels: int
    classes: tuple[str, ...] = ()
    idx_folders: tuple[str, ...] = ()


DATASETS = {
    "cifar10": _Named("CIFAR10", 3, tuple(_CIFAR10.split())),
    "cifar100": _Named("CIFAR100", 3),
    "fashion-mnist": _Named(
        "FashionMNIST", 1, tuple(_FASHION.split()), ("fashion-mnist", "FashionMNIST/raw")
    ),
    "mnist": _Named("MNIST", 1, tuple("0123456789"), ("mnist", "MNIST/raw")),
}
"""The data sets known by name."""


def load_image_set(spec: str, split: Split, channels: int | None = None) -> ImageSet:
    """Load labelled images of one size into memory.

    Args:
        spec: ``cifar10``, ``cifar100``, ``fashion-mnist``, ``mnist`` (below ``COMDEFEND_DATA``),
            ``parquet:PATH`` (a file, or a folder with ``train*.parquet`` and ``test*.parquet``) or
            ``folder:PATH`` (``PATH/CLASS/*.png``, or ``PATH/SPLIT/CLASS/*.png``). A relative path
            is also looked for below ``COMDEFEND_DATA``.
        split: ``train`` or ``test``.
        channels: Convert images to 3 (RGB) or 1 (grey) channels; files' own by default.

    Raises:
        InputError: The spec is not understood, or the images differ in size.
        DataMissingError: The data is not there; the message says how to get it.
        ImageError: A file of it is not an image.
    """
    kind, path = _parse(spec)
    if kind == "parquet":
        return _from_parquet(_parquet_files(path, split), channels)
    if kind == "folder":
        return _from_folder(path, split, channels)
    return _from_name(kind, split, channels)


def has_test_split(spec: str) -> bool:
    """Whether a data set has test images of its own, apart from those to train on."""
    kind, path = _parse(spec)
    if kind == "parquet":
        return path.is_dir() and bool(_matching_parquet(path, "test"))
    return kind != "folder" or (path / "test").is_dir()


def load_training_images(spec: str, channels: int) -> Tensor | list[Path]:
    """Return what a purifier trains on: images in memory, or a folder's files.

    Args:
        spec: As for `load_image_set`; a folder needs no classes here, and its images may differ
            in size.
        channels: 3 (RGB) or 1 (grey).

    Returns:
        (N, C, H, W) uint8, or the paths of the folder's images.
    """
    kind, path = _parse(spec)
    if kind != "folder":
        return load_image_set(spec, "train", channels).images
    folder = path / "train" if (path / "train").is_dir() else path
    if not folder.is_dir():
        raise DataMissingError(f"{path}: no such folder")
    if not (paths := image_paths(folder)):
        raise DataMissingError(f"{folder}: holds no images")
    return paths


def _parse(spec: str) -> tuple[str, Path]:
    kind, colon, rest = spec.partition(":")
    if colon and kind in ("parquet", "folder") and rest:
        return kind, _found_below(Path(rest))
    if not colon and kind in DATASETS:
        return kind, Path()
    raise InputError(
        f"unknown data set '{spec}'; use {', '.join(DATASETS)}, parquet:PATH or folder:PATH"
    )


def _found_below(path: Path) -> Path:
    """Return a path as it is, or below ``COMDEFEND_DATA`` where it is only there."""
    below = Path(os.environ.get("COMDEFEND_DATA", "")) / path
    return below if not path.exists() and below.exists() else path


def _from_name(name: str, split: Split, channels: int | None) -> ImageSet:
    known = DATASETS[name]
    hint = (
        f'python -c "import torchvision; torchvision.datasets.{known.torchvision_class}'
        "('DATA', download=True)\""
    )
    if not (place := os.environ.get("COMDEFEND_DATA")):
        raise DataMissingError(
            f"data set '{name}': set COMDEFEND_DATA to the folder that holds it; "
            f"to download it into a folder DATA, run: {hint}"
        )
    root = Path(place)
    channels = channels or known.channels
    if files := _matching_parquet(root / name, split):
        return _named_classes(_from_parquet(files, channels), known)
    prefix = "train" if split == "train" else "t10k"
    for folder in known.idx_folders:
        images = _idx_file(root / folder / f"{prefix}-images-idx3-ubyte")
        labels = _idx_file(root / folder / f"{prefix}-labels-idx1-ubyte")
        if images and labels:
            return _from_idx(images, labels, known, channels)
    if name.startswith("cifar") and (root / _CIFAR_FOLDERS[name]).is_dir():
        return _from_torchvision_cifar(root, known, split, channels)
    raise DataMissingError(
        f"data set '{name}' is not in {root}; "
        f"to download it, run, with that folder for DATA: {hint}"
    )


_CIFAR_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


def _from_torchvision_cifar(root: Path, known: _Named, split: Split, channels: int) -> ImageSet:
    # These files are pickles. torchvision opens none whose checksum is not the published one.
    datasets = require("torchvision.datasets", "train")
    try:
        dataset = getattr(datasets, known.torchvision_class)(root, train=split == "train")
    except RuntimeError as error:
        raise ImageError(f"{root}: not the files of {known.torchvision_class} ({error})") from error
    images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor(dataset.targets)
    return ImageSet(_with_channels(images, channels), labels, tuple(dataset.classes))


def _idx_file(path: Path) -> Path | None:
    return next((p for p in (path, path.with_name(path.name + ".gz")) if p.is_file()), None)


def _from_idx(images: Path, labels: Path, known: _Named, channels: int) -> ImageSet:
    reader = require("torchvision.datasets.mnist", "train")
    try:
        with _unpacked(images) as image_file, _unpacked(labels) as label_file:
            pixels = reader.read_image_file(image_file.name).unsqueeze(1)
            targets = reader.read_label_file(label_file.name)
    # torchvision's reader asserts, and unpacking a damaged file raises zlib.error or EOFError.
    except Exception as error:
        raise ImageError(f"{images.parent}: not readable as IDX files ({error})") from error
    return ImageSet(_with_channels(pixels, channels), targets, known.classes)


def _unpacked(path: Path) -> "tempfile._TemporaryFileWrapper[bytes]":
    """Return a temporary copy of a file, unpacked if it is a gzip."""
    copy = tempfile.NamedTemporaryFile(prefix="comdefend-")  # noqa: SIM115, the caller closes it
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as source:
        shutil.copyfileobj(source, copy)
    copy.flush()
    return copy


def _parquet_files(path: Path, split: Split) -> list[Path]:
    if path.is_file():
        return [path]
    if files := _matching_parquet(path, split):
        return files
    raise DataMissingError(f"{path}: no such parquet file, nor a folder with {split}*.parquet")


def _matching_parquet(folder: Path, split: Split) -> list[Path]:
    return sorted([*folder.glob(f"{split}*.parquet"), *folder.glob(f"data/{split}*.parquet")])


def _from_parquet(files: list[Path], channels: int | None) -> ImageSet:
    parquet = require("pyarrow.parquet", "train")
    images, labels = [], []
    for file in files:
        try:
            table = parquet.read_table(file)
        except (OSError, ValueError) as error:
            raise ImageError(f"{file}: not readable as parquet ({error})") from error
        image_column = next((n for n in ("image", "img") if n in table.column_names), None)
        label_column = next((n for n in ("label", "fine_label") if n in table.column_names), None)
        if image_column is None or label_column is None:
            raise InputError(f"{file}: needs columns 'image' and 'label', has {table.column_names}")
        for row, cell in enumerate(table.column(image_column)):
            images.append(_decode(cell.as_py(), f"{file}, row {row}", channels))
        found = table.column(label_column).to_pylist()
        if not all(isinstance(label, int) and label >= 0 for label in found):
            raise InputError(f"{file}: labels must be integers from 0")
        labels += found
    return _stack(images, labels, (), str(files[0].parent))


def _decode(cell: object, where: str, channels: int | None) -> np.ndarray:
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(data, bytes):
        raise ImageError(f"{where}: holds no image bytes")
    try:
        return _as_array(decode_image(io.BytesIO(data)).image, channels)
    except ImageError as error:
        raise ImageError(f"{where}: {error}") from error


def _as_array(image: Image.Image, channels: int | None) -> np.ndarray:
    mode = {1: "L", 3: "RGB", None: "L" if image.mode in ("L", "LA") else "RGB"}[channels]
    return np.asarray(image.convert(mode))


def _from_folder(path: Path, split: Split, channels: int | None) -> ImageSet:
    folder = path / split if (path / split).is_dir() else path
    if not folder.is_dir():
        raise DataMissingError(f"{path}: no such folder")
    classes = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir()))
    files = [(p, label) for label, c in enumerate(classes) for p in image_paths(folder / c)]
    if not files:
        raise DataMissingError(f"{folder}: holds no images in folders named by their class")
    images = [_as_array(read_named(p).image, channels) for p, _ in files]
    return _stack(images, [label for _, label in files], classes, str(folder))


def _stack(
    images: list[np.ndarray], labels: list[int], classes: tuple[str, ...], where: str
) -> ImageSet:
    if not images:
        raise DataMissingError(f"{where}: holds no images")
    if len(sizes := {image.shape for image in images}) > 1:
        raise InputError(
            f"{where}: images must have one size and mode here, found {len(sizes)} kinds"
        )
    array = np.stack(images)
    array = array[..., None] if array.ndim == 3 else array
    pixels = torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()
    return ImageSet(pixels, torch.tensor(labels, dtype=torch.int64), classes)


def _named_classes(images: ImageSet, known: _Named) -> ImageSet:
    return ImageSet(images.images, images.labels, known.classes)


def _with_channels(images: Tensor, channels: int) -> Tensor:
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.repeat(1, 3, 1, 1)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R BT.601, as Pillow's "L"
    return (images * weights).sum(1, keepdim=True).round().to(torch.uint8)


def read_named(path: Path) -> ReadImage:
    """Read an image; errors name its path."""
    try:
        return read_image(path)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
