"""Weights of other people's classifiers, read without unpickling."""

import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from comdefend.errors import DataMissingError, InputError, WeightsError

_SUFFIX = ".safetensors"
# Where training scripts put the weights among other things.
_NESTED = ("state_dict", "model_state_dict", "model", "net")
# What torch.compile, DataParallel and Lightning modules put in front of every name.
_PREFIXES = ("_orig_mod.", "module.", "model.", "net.")


def load_checkpoint(network: nn.Module, path: Path, spec: str) -> None:
    """Load weights into a network; the names must match, but for prefixes that all of them have.

    Raises:
        InputError: The names or shapes differ.
        DataMissingError, WeightsError: As for `open_classifier`.
    """
    own = network.state_dict()
    state = _without_prefixes(_read_checkpoint(path), own)
    misfits = [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and isinstance(own[name], Tensor) and state[name].shape != own[name].shape
    ]
    problems = [_first(misfits)] if misfits else []
    if not misfits:
        # torch compares the names: it fills in what files of older versions lack.
        result = network.load_state_dict(state, strict=False)
        if result.missing_keys:
            problems.append(f"missing {_first(result.missing_keys)}")
        if result.unexpected_keys:
            problems.append(f"unexpected {_first(result.unexpected_keys)}")
    if problems:
        raise InputError(f"{path}: does not fit {spec}: {'; '.join(problems)}")


def classes_in(path: Path, network: nn.Module) -> int | None:
    """Return the number of classes of a checkpoint, where it is another than a network's.

    Every tensor whose shape differs must then differ in its first dimension alone, and all of them
    alike: weights and bias of the last layer.

    Raises:
        DataMissingError, WeightsError: As for `open_classifier`.
    """
    own = network.state_dict()
    state = _without_prefixes(_read_checkpoint(path), own)
    pairs = [
        (tuple(state[name].shape), tuple(tensor.shape))
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    counts = {theirs[0] for theirs, ours in pairs if theirs[1:] == ours[1:] and theirs and ours}
    alike = all(theirs[1:] == ours[1:] for theirs, ours in pairs)
    return counts.pop() if pairs and alike and len(counts) == 1 else None


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise DataMissingError(f"{path}: no such checkpoint")
    if (what := _mistaken_for(path)) is not None:
        raise WeightsError(f"{path}: {what}, not weights")
    if path.suffix == _SUFFIX:
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path}: corrupt, not a safetensors file ({error})") from error
    # On a damaged file torch may raise anything.
    try:
        with warnings.catch_warnings():
            # torch warns about foreign pickles before it refuses them.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"{path}: torch cannot read it without unpickling objects; "
            "save the network's state_dict() alone"
        ) from error
    for state in (content, *(_entry(content, key) for key in _NESTED)):
        if _is_state_dict(state):
            return dict(state)
    raise WeightsError(f"{path}: holds no state dict, by itself or as {' or '.join(_NESTED)}")


def _mistaken_for(path: Path) -> str | None:
    """Return what a file is that a failed download left in place of the weights, or None."""
    with path.open("rb") as file:
        start = file.read(256)
    if not start:
        return "an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (run: git lfs pull)"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "an HTML page"
    if start.startswith(b"PK") and not zipfile.is_zipfile(path):
        return "a truncated file"
    return None


def _entry(content: Any, key: str) -> Any:
    return content.get(key) if isinstance(content, Mapping) else None


def _is_state_dict(state: Any) -> bool:
    return (
        isinstance(state, Mapping)
        and len(state) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    )


def _without_prefixes(state: Mapping[str, Tensor], own: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return weights without what all their names begin with, unless the network's begin so too."""
    names = dict(state)
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in names)), None):
        if all(name.startswith(prefix) for name in own):
            break
        names = {name.removeprefix(prefix): tensor for name, tensor in names.items()}
    return names


def _first(items: Iterable[str], count: int = 3) -> str:
    items = list(items)
    more = f" and {len(items) - count} more" if len(items) > count else ""
    return ", ".join(items[:count]) + more
