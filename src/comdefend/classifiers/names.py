"""The names of its classes that a classifier's checkpoint carries."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from comdefend.classifiers.spec import ClassifierSpec
from comdefend.data.classes import ClassNames, class_names, match_classes, read_class_names
from comdefend.data.image_set import ImageSet
from comdefend.errors import InputError

# What training scripts, timm and transformers call them, and where.
_KEYS = ("id2label", "label_names", "class_names", "classes", "class_to_idx", "idx_to_class")
_NESTED = ("pretrained_cfg", "config", "meta", "hyper_parameters")


def match_to_classifier(data: ImageSet, spec: ClassifierSpec, count: int, source: str) -> ImageSet:
    """Return a data set with its labels numbered as a classifier numbers its classes.

    Names decide, as for `match_classes`: those that are given, then those that the checkpoint
    carries.

    Args:
        data: The data set.
        spec: The classifier.
        count: The classifier's number of classes.
        source: What messages call the data.

    Raises:
        InputError: The given names cannot be read, a class has no counterpart, or nothing says
            which it is.
        DataMissingError: The file of the given names does not exist.
    """
    given = None if spec.classes is None else read_class_names(spec.classes)
    carried = None if spec.checkpoint is None else checkpoint_class_names(Path(spec.checkpoint))
    return match_classes(data, count, source, given, carried)


def checkpoint_class_names(checkpoint: Path) -> ClassNames | None:
    """Return the names of a classifier's classes, or None if its checkpoint does not hold them.

    They are looked for in the file itself, and in ``config.json`` beside it, as transformers and
    timm write it.
    """
    for content in (_inside(checkpoint), _beside(checkpoint)):
        for values in (content, *(content.get(key) for key in _NESTED)):
            if isinstance(values, Mapping) and (names := _names(values)) is not None:
                return names
    return None


def _names(values: Mapping[Any, Any]) -> ClassNames | None:
    for key in _KEYS:
        value = values.get(key)
        if isinstance(value, str):
            with suppress(ValueError):
                value = json.loads(value)
        with suppress(InputError):
            return class_names(value, key)
    return None


def _inside(path: Path) -> Mapping[Any, Any]:
    # Whoever opens the classifier says what is wrong with the file.
    with suppress(Exception):
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return file.metadata() or {}
        content = torch.load(path, map_location="cpu", weights_only=True)
        return content if isinstance(content, Mapping) else {}
    return {}


def _beside(path: Path) -> Mapping[Any, Any]:
    with suppress(OSError, ValueError):
        content = json.loads(path.with_name("config.json").read_text(encoding="utf-8"))
        return content if isinstance(content, Mapping) else {}
    return {}
