"""Names of classes: which output of a classifier a label of a data set stands for."""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from comdefend.common import schema
from comdefend.common.extras import require
from comdefend.data.image_set import ImageSet
from comdefend.errors import ExtraMissingError, InputError

_IMAGENET = 1000
_SYNSET = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class ClassNames:
    """The names of a classifier's classes.

    Attributes:
        names: All names of each class, in the order of the classifier's outputs.
    """

    names: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def first(self) -> tuple[str, ...]:
        """One name for each class."""
        return tuple(names[0] for names in self.names)

    def index(self) -> dict[str, set[int]]:
        """Return the positions of each name, in plain spelling."""
        found: dict[str, set[int]] = {}
        for position, names in enumerate(self.names):
            for name in names:
                found.setdefault(_plain(name), set()).add(position)
        return found


def read_class_names(source: str | Path | Sequence[str], where: str = "classes") -> ClassNames:
    """Read the names of a classifier's classes, in the order of its outputs.

    Args:
        source: The names; or a file with one name a line, or JSON: a list of names, a mapping of
            names to numbers, or of numbers to names.
        where: What messages begin with.

    Raises:
        InputError: There is no such file, or it holds something else.
    """
    if not isinstance(source, str | Path):
        return class_names(list(source), where)
    path = Path(source).expanduser()
    text = schema.read_text(str(path)).removeprefix("\ufeff")
    if path.suffix.lower() != ".json":
        return class_names([line.strip() for line in text.rstrip().splitlines()], str(path))
    try:
        return class_names(json.loads(text), str(path))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not readable as JSON ({error})") from error


def class_names(value: Any, where: str) -> ClassNames:
    """Return names of classes from the plain values of a file: see `read_class_names`."""
    if isinstance(value, Mapping) and value:
        value = _in_order(value, where)
    if not isinstance(value, list | tuple) or not value:
        raise InputError(f"{where}: must be names of classes, in the order of the classifier")
    names = tuple(_aliases(item) for item in value)
    if (empty := next((i for i, item in enumerate(names) if not all(item)), None)) is not None:
        raise InputError(f"{where}: class {empty} has no name")
    return ClassNames(names)


def match_classes(
    data: ImageSet,
    count: int,
    source: str = "data",
    given: ClassNames | None = None,
    carried: ClassNames | None = None,
) -> ImageSet:
    """Return a data set with its labels numbered as a classifier numbers its classes.

    Names decide: those that are given, those that the classifier carries, numbers, and ImageNet's
    where the classifier has 1,000 classes. Without names to go by, data and classifier must have
    equally many classes, which are taken in order. Labels without names stay as they are.

    Args:
        data: The data set.
        count: The classifier's number of classes.
        source: What messages call the data.
        given: The classifier's names, as the user gives them.
        carried: The classifier's names, as its file holds them.

    Raises:
        InputError: A class has no counterpart, or nothing says which it is.
    """
    if given is not None and len(given) != count:
        raise InputError(f"classes: {len(given)} names for a classifier of {count} classes")
    if carried is not None and len(carried) != count:
        carried = None
    numbered = not data.classes or data.classes == tuple(map(str, range(len(data.classes))))
    for names, must in ((given, True), (carried, False)):
        if names is None:
            continue
        if data.classes and (found := _found(data, names, source, must and not numbered)):
            return found
        if numbered:
            return replace(data, classes=names.first)
    if numbered:
        return data
    if count == _IMAGENET and (found := _found(data, imagenet_names(), source, False)):
        return found
    if len(data.classes) == count:
        return data
    some = ", ".join(data.classes[:3]) + (", ..." if len(data.classes) > 3 else "")
    raise InputError(
        f"{source}: has {len(data.classes)} classes ({some}), the classifier has {count}, and "
        "nothing says which is which; name the folders by the classifier's numbers, or give an "
        "evaluation its names in order: --classes FILE, one a line (classes= in Python)"
    )


@cache
def imagenet_names() -> ClassNames:
    """Return the names of ImageNet's 1,000 classes: synsets and words, as far as libraries know."""
    names: list[list[str]] = [[] for _ in range(_IMAGENET)]
    try:
        info = require("timm.data", "evaluate").ImageNetInfo()
        for index, own in enumerate(names):
            words = info.index_to_description(index)
            own += [words, *words.split(", "), info.index_to_label_name(index)]
    except ExtraMissingError:
        pass
    categories = require("torchvision.models", "evaluate").ResNet18_Weights.DEFAULT.meta
    for own, word in zip(names, categories["categories"], strict=True):
        own.append(word)
    return ClassNames(tuple(map(tuple, names)))


def _found(data: ImageSet, names: ClassNames, source: str, must: bool) -> ImageSet | None:
    """Return the data with its labels found among names; None if none of them is there."""
    index = names.index()
    used = [data.classes[label] for label in data.labels.unique().tolist()]
    missing = [name for name in used if _plain(name) not in index]
    if len(missing) == len(used) and not must:
        return None
    if missing:
        near = difflib.get_close_matches(_plain(missing[0]), index, 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise InputError(
            f"{source}: the classifier has no class {', '.join(map(repr, missing[:5]))}{hint}"
        )
    if twice := [name for name in used if len(index[_plain(name)]) > 1]:
        places = sorted(index[_plain(twice[0])])
        raise InputError(f"{source}: '{twice[0]}' is the name of the classes {places}")
    labels = [min(index[_plain(data.classes[label])]) for label in data.labels.tolist()]
    return replace(data, labels=torch.tensor(labels, dtype=torch.int64), classes=names.first)


def _in_order(value: Mapping[Any, Any], where: str) -> list[Any]:
    """Return the names of a mapping in the order of its numbers."""
    pairs = [(k, v) if isinstance(v, int) else (v, k) for k, v in value.items()]
    try:
        ordered = {int(number): name for name, number in pairs}
    except (TypeError, ValueError):
        raise InputError(f"{where}: must map names to numbers, or numbers to names") from None
    if sorted(ordered) != list(range(len(pairs))):
        raise InputError(f"{where}: the numbers of its {len(pairs)} classes must be 0, 1, 2, ...")
    return [ordered[number] for number in range(len(pairs))]


def _aliases(item: Any) -> tuple[str, ...]:
    """Return all names of a class: a name, a list of them, or ImageNet's ``synset words, ...``."""
    if isinstance(item, list | tuple) and item:
        return tuple(str(name).strip() for name in item)
    name = str(item).strip() if isinstance(item, str | int) else ""
    first, _, words = name.partition(" ")
    if not _SYNSET.fullmatch(first) or not words:
        return (name,)
    return (words, first, *(word.strip() for word in words.split(",")))


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", name.casefold())).strip()
