"""Labelled images out of the files of data sets: IDX, torchvision's CIFAR, parquet, folders."""

import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from comdefend.common.extras import require
from comdefend.data.folders import ClassFolders
from comdefend.data.image_files import decode_image, image_paths, read_named
from comdefend.data.image_set import ImageSet
from comdefend.errors import DataMissingError, ImageError, InputError

# The first number of an IDX file of bytes, without its number of dimensions.
_IDX_BYTES = 0x0800


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


def read_parquet(files: Sequence[Path], classes: tuple[str, ...], channels: int | None) -> ImageSet:
    """Read parquet files in the layout of the Hugging Face hub.

    Args:
        files: With columns ``image`` or ``img`` (encoded images) and ``label`` or ``fine_label``.
        classes: Names of the classes; may be empty.
        channels: 3 (RGB) or 1 (grey), or None for the files' own.

    Raises:
        InputError: A column is missing, a label is not an integer, or the images differ in size.
        DataMissingError: There are no images.
        ImageError: A file is damaged, or a cell is not an image.
        ExtraMissingError: pyarrow is not installed.
    """
    parquet = require("pyarrow.parquet", "train")
    images: list[np.ndarray] = []
    labels: list[int] = []
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
            images.append(_decoded(cell.as_py(), f"{file}, row {row}", channels))
        values = table.column(label_column).to_pylist()
        if not all(isinstance(label, int) and label >= 0 for label in values):
            raise InputError(f"{file}: labels must be integers from 0")
        labels += values
    return _stacked(images, labels, classes, str(files[0].parent))


def read_folders(found: ClassFolders, where: Path, channels: int | None) -> ImageSet:
    """Read image files in folders named by their class.

    Args:
        found: The folders.
        where: What messages begin with.
        channels: 3 (RGB) or 1 (grey), or None for the files' own.

    Raises:
        InputError: The images differ in size or mode.
        DataMissingError: There are no images.
        ImageError: A file is not an image.
    """
    files = [(p, label) for folder, label in found.folders.items() for p in image_paths(folder)]
    if not files:
        raise DataMissingError(f"{where}: holds no images in folders named by their class")
    images = [_as_array(read_named(path).image, channels) for path, _ in files]
    data = _stacked(images, [label for _, label in files], found.classes, str(where))
    return replace(data, notes=found.notes)


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


def _decoded(cell: object, where: str, channels: int | None) -> np.ndarray:
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


def _stacked(
    images: list[np.ndarray], labels: list[int], classes: tuple[str, ...], where: str
) -> ImageSet:
    if not images:
        raise DataMissingError(f"{where}: holds no images")
    if len(shapes := {image.shape for image in images}) > 1:
        raise InputError(
            f"{where}: images must have one size and mode here, found {len(shapes)} kinds"
        )
    array = np.stack(images)
    array = array[..., None] if array.ndim == 3 else array
    pixels = torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()
    return ImageSet(pixels, torch.tensor(labels, dtype=torch.int64), classes)


def _with_channels(images: Tensor, channels: int) -> Tensor:
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.repeat(1, 3, 1, 1)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R BT.601, as Pillow's "L"
    return (images * weights).sum(1, keepdim=True).round().to(torch.uint8)
