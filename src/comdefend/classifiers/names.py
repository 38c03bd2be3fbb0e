"""The names of its classes that a classifier's checkpoint carries."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from comdefend.data.classes import ClassNames, class_names
from comdefend.errors import InputError

# What training scripts, timm and transformers call them, and where.
_KEYS = ("id2label", "label_names", "class_names", "classes", "class_to_idx", "idx_to_class")
_NESTED = ("pretrained_cfg", "config", "meta", "hyper_parameters")


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
