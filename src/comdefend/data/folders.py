"""Folders named by their class, in folders named by their split or not."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from comdefend.data.image_files import readable_suffixes
from comdefend.errors import DataMissingError, InputError

Split = Literal["train", "test"]

STAND_INS = ("val", "valid", "validation")
"""What the split is called that stands in for a test split where there is none."""

_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "testing", *STAND_INS),
}
_SPLITS = {name for names in _NAMES.values() for name in names}
# Larger numbers are dates or serial numbers, not positions among the outputs of a classifier.
_MOST_CLASSES = 100_000


@dataclass(frozen=True)
class ClassFolders:
    """The folders of one split, with the labels that they have in all splits.

    Attributes:
        folders: Folder -> label.
        classes: Names of the classes, in the order of the labels.
        notes: What the user should know about the choice, a line each.
    """

    folders: dict[Path, int]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def find_classes(path: Path, split: Split) -> ClassFolders:
    """Return the folders of the classes of one split, below ``path/SPLIT`` or ``path``.

    Classes are numbered over all splits together. Folders that are named by numbers are labelled
    by these; others by their place in alphabetical order.

    Raises:
        DataMissingError: There is no such folder, or it has no such split.
        InputError: The classes are named like splits, or cannot be told apart.
    """
    splits = find_splits(path)
    chosen, notes = _chosen(path, splits, split)
    together = list(splits.values()) or [path, *_siblings(path)]
    _refuse_splits(chosen)
    names = {folder.name for place in together for folder in subfolders(place)}
    labels, more = _numbered(path, names)
    classes = [str(number) for number in range(max(labels.values(), default=-1) + 1)]
    for name, label in labels.items():
        classes[label] = str(label) if name.isdecimal() and int(name) == label else name
    own = {folder: labels[folder.name] for folder in subfolders(chosen)}
    return ClassFolders(own, tuple(classes), (*notes, *more))


def find_splits(path: Path) -> dict[str, Path]:
    """Return the folders below ``path`` that are splits, by their names in small letters.

    A single folder called ``train`` that stands beside others, and like them holds images and no
    folders, is a class.

    Raises:
        DataMissingError: There is no such folder.
    """
    if not path.is_dir():
        raise DataMissingError(f"{path}: no such folder")
    folders = subfolders(path)
    splits = {p.name.lower(): p for p in folders if p.name.lower() in _SPLITS}
    others = [p for p in folders if p.name.lower() not in _SPLITS]
    if len(splits) == 1 and others and all(_holds_images_alone(p) for p in folders):
        return {}
    return splits


def find_test_split(path: Path) -> Path | None:
    """Return the folder of the labelled test images, or of those that stand in for them."""
    if not path.is_dir():
        return None
    splits = find_splits(path)
    return next((splits[n] for n in _NAMES["test"] if n in splits and subfolders(splits[n])), None)


def find_training_images(path: Path) -> Path:
    """Return the folder of the images to train on; they need no classes.

    Raises:
        DataMissingError: There is no such folder, or it has other splits only.
    """
    splits = find_splits(path)
    return _split_named(path, splits, "train") if splits else path


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without those that begin with a dot."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _chosen(path: Path, splits: dict[str, Path], split: Split) -> tuple[Path, tuple[str, ...]]:
    if not splits:
        return path, ()
    if split == "train":
        return _split_named(path, splits, split), ()
    if (found := find_test_split(path)) is None:
        # It may be there without classes.
        return _split_named(path, splits, split), ()
    if found.name.lower() not in STAND_INS:
        return found, ()
    return found, (f"{path}: has no test images by class; those of {found.name}/ are taken",)


def _split_named(path: Path, splits: dict[str, Path], split: Split) -> Path:
    if (found := next((splits[n] for n in _NAMES[split] if n in splits), None)) is not None:
        return found
    there = next(iter(splits.values())).name
    raise DataMissingError(
        f"{path}: has {there}/ but no {split}/; to take those images, name {path / there}"
    )


def _siblings(path: Path) -> list[Path]:
    """Return the other splits beside a folder that is a split itself and shares classes."""
    path = path.resolve()
    if path.name.lower() not in _SPLITS:
        return []
    own = {folder.name for folder in subfolders(path)}
    others = (p for p in find_splits(path.parent).values() if p != path)
    return [p for p in others if own & {folder.name for folder in subfolders(p)}]


def _refuse_splits(place: Path) -> None:
    """Refuse a path that is a level too high: its folders are no classes."""
    folders = subfolders(place)
    for folder in (place, *folders):
        named = [p.name for p in subfolders(folder) if p.name.lower() in _SPLITS]
        if named and find_splits(folder):
            raise InputError(
                f"{folder}: {', '.join(named)} are splits, not classes; as a data set, name "
                f"the folder that holds them alone: folder:{folder}"
            )
    if len(folders) == 1 and len(inner := subfolders(folders[0])) > 1:
        raise InputError(
            f"{place}: has one class, {folders[0].name}, which holds folders itself; if "
            f"{inner[0].name} and {inner[1].name} are classes, name folder:{folders[0]}"
        )


def _numbered(path: Path, names: Iterable[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    names = sorted(names)
    if len({name.casefold() for name in names}) < len(names):
        raise InputError(f"{path}: some classes differ in capital letters alone: {names}")
    if not names or not all(name.isascii() and name.isdecimal() for name in names):
        return {name: label for label, name in enumerate(names)}, ()
    if len({int(name) for name in names}) < len(names):
        raise InputError(f"{path}: some classes are the same number: {', '.join(names)}")
    ordered = sorted(names, key=int)
    if int(ordered[-1]) >= _MOST_CLASSES:
        return {name: label for label, name in enumerate(ordered)}, ()
    note = (
        f"{path}: folders are numbers, and their labels are these numbers; torchvision's "
        "ImageFolder sorts them as text (0, 1, 10, 2)"
    )
    labels = {name: int(name) for name in ordered}
    return labels, (note,) if list(labels.values()) != [names.index(n) for n in ordered] else ()


def _holds_images_alone(folder: Path) -> bool:
    inside = [p for p in folder.iterdir() if not p.name.startswith(".")]
    return any(p.suffix.lower() in readable_suffixes() for p in inside) and not any(
        p.is_dir() for p in inside
    )
