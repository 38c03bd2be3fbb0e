"""Labelled images out of the files of data sets: IDX, torchvision's CIFAR, parquet, folders."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from comdefend.common.extras import require
from comdefend.data.folders import ClassFolders
from comdefend.data.image_files import image_paths
from comdefend.data.image_set import ImageSet
from comdefend.data.listing import Encoded, Listing
from comdefend.errors import DataMissingError, ImageError, InputError

# The first number of an IDX file of bytes, without its number of dimensions.
_IDX_BYTES = 0x0800
_IMAGE_COLUMNS = ("image", "img", "images")
_LABEL_COLUMNS = ("label", "labels", "fine_label")


def read_cifar(root: Path, torchvision_class: str, train: bool, channels: int) -> ImageSet:
    """Read CIFAR as torchvision stores it, below a folder.

    Raises:
        ImageError: The files are not the published ones.
        ExtraMissingError: torchvision is not installed.
    """
    # These files are pickles. torchvision opens them only if their checksum is the published one.
    datasets = require("torchvision.datasets", "train")
    try:
        dataset = getattr(datasets, torchvision_class)(root, train=train)
    except RuntimeError as error:
        raise ImageError(f"{root}: not the files of {torchvision_class} ({error})") from error
    images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
    return ImageSet(
        _with_channels(images, channels), torch.tensor(dataset.targets), tuple(dataset.classes)
    )


def read_idx(images: Path, labels: Path, classes: tuple[str, ...], channels: int) -> ImageSet:
    """Read the two files of MNIST's format, packed by gzip or not.

    Raises:
        ImageError: They are damaged.
    """
    pixels = torch.from_numpy(_idx_array(images, 3)).unsqueeze(1)
    targets = torch.from_numpy(_idx_array(labels, 1)).long()
    return ImageSet(_with_channels(pixels, channels), targets, classes)


def list_parquet(files: Sequence[Path], classes: tuple[str, ...]) -> Listing:
    """List the images of parquet files in the layout of the Hugging Face hub.

    Args:
        files: With columns ``image``, ``images`` or ``img`` (encoded images), and ``label``,
            ``labels`` or ``fine_label``.
        classes: Names of the classes; by default those in the files' schema.

    Raises:
        InputError: A column is missing, or a label is not an integer.
        DataMissingError: There are no images.
        ImageError: A file is damaged.
        ExtraMissingError: pyarrow is not installed.
    """
    parquet = require("pyarrow.parquet", "train")
    labels: list[int] = []
    places: list[_Row] = []
    for file in files:
        with _readable(file):
            opened = parquet.ParquetFile(file)
            names = opened.schema_arrow.names
            image = next((n for n in _IMAGE_COLUMNS if n in names), None)
            label = next((n for n in _LABEL_COLUMNS if n in names), None)
            if image is None or label is None:
                raise InputError(f"{file}: needs columns 'image' and 'label', has {names}")
            values = opened.read([label]).column(label).to_pylist()
            groups = [opened.metadata.row_group(n).num_rows for n in range(opened.num_row_groups)]
            classes = classes or _schema_names(opened.schema_arrow.metadata, label)
        if not all(isinstance(value, int) and value >= 0 for value in values):
            raise InputError(f"{file}: labels must be integers from 0")
        if classes and max(values, default=0) >= len(classes):
            raise InputError(f"{file}: label {max(values)}, but names of {len(classes)} classes")
        labels += values
        first = 0
        for number, rows in enumerate(groups):
            places += [_Row(file, image, number, first, first + row) for row in range(rows)]
            first += rows
    if not labels:
        raise DataMissingError(f"{files[0].parent}: holds no images")

    def fetch(positions: Iterable[int]) -> Iterator[tuple[int, str, Encoded]]:
        ordered = sorted(positions)
        for (file, image, number), group in groupby(ordered, lambda p: places[p][:3]):
            with _readable(file):
                cells = parquet.ParquetFile(file).read_row_group(number, [image]).column(image)
            for position in group:
                row = places[position].row
                cell = cells[row - places[position].first].as_py()
                data = cell.get("bytes") if isinstance(cell, dict) else cell
                encoded = data if isinstance(data, bytes) else None
                yield position, f"{file}, row {row}", encoded

    return Listing(str(files[0].parent), labels, fetch, classes)


def list_folders(found: ClassFolders, where: Path) -> Listing:
    """List the image files in folders named by their class.

    Args:
        found: The folders.
        where: What messages call them.

    Raises:
        DataMissingError: There are no images.
    """
    files = [(p, label) for folder, label in found.folders.items() for p in image_paths(folder)]
    if not files:
        raise DataMissingError(f"{where}: holds no images in folders named by their class")
    listing = list_files(where, [path for path, _ in files])
    labels = [label for _, label in files]
    return replace(listing, labels=labels, classes=found.classes, notes=found.notes)


def list_files(where: Path, files: Sequence[Path]) -> Listing:
    """List image files, all with the label 0."""

    def fetch(positions: Iterable[int]) -> Iterator[tuple[int, str, Encoded]]:
        for position in positions:
            yield position, str(files[position]), files[position]

    return Listing(str(where), [0] * len(files), fetch)


def _idx_array(path: Path, dimensions: int) -> np.ndarray:
    """Return the bytes of an IDX file: a type and a rank, the sizes, then the values."""
    # What is wrong with a damaged file: its gzip (OSError, EOFError, zlib.error), its header or
    # its length (ValueError).
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read()
        kind, *sizes = np.frombuffer(data, ">i4", 1 + dimensions).tolist()
        if kind != _IDX_BYTES + dimensions:
            raise ValueError(f"does not hold bytes in {dimensions} dimensions")
        return np.frombuffer(data, np.uint8, offset=4 * (1 + dimensions)).reshape(sizes).copy()
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ImageError(f"{path}: not readable as IDX ({error})") from error


class _Row(NamedTuple):
    file: Path
    column: str
    group: int
    first: int  # the row with which the group begins
    row: int


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (InputError, ImageError):
        raise
    except (OSError, ValueError) as error:
        raise ImageError(f"{file}: not readable as parquet ({error})") from error


def _schema_names(metadata: Mapping[bytes, bytes] | None, column: str) -> tuple[str, ...]:
    """Return the names of the classes in a schema that Hugging Face's datasets wrote, or none."""
    # Whatever else others write there is not for us.
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
        ordered = [names[str(n)] for n in range(len(names))] if isinstance(names, dict) else names
        return tuple(str(name) for name in ordered)
    except (KeyError, TypeError, ValueError):
        return ()


def _with_channels(images: Tensor, channels: int) -> Tensor:
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.repeat(1, 3, 1, 1)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R BT.601, as Pillow's "L"
    return (images * weights).sum(1, keepdim=True).round().to(torch.uint8)
