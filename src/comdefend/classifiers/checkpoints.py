"""Weights of other people's classifiers, read without unpickling."""

import warnings
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
_NESTED = ("state_dict", "model")
# DataParallel puts this in front of every name.
_WRAPPED = "module."


def load_checkpoint(network: nn.Module, path: Path, spec: str) -> None:
    """Load weights into a network; the names must match exactly.

    Raises:
        InputError: The names or shapes differ.
        DataMissingError, WeightsError: As for `open_classifier`.
    """
    state = _read_checkpoint(path)
    own = network.state_dict()
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


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise DataMissingError(f"{path}: no such checkpoint")
    if path.suffix == _SUFFIX:
        try:
            return _unwrapped(load_file(path))
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
            return _unwrapped(state)
    raise WeightsError(f"{path}: holds no state dict, by itself or as {' or '.join(_NESTED)}")


def _entry(content: Any, key: str) -> Any:
    return content.get(key) if isinstance(content, Mapping) else None


def _is_state_dict(state: Any) -> bool:
    return (
        isinstance(state, Mapping)
        and len(state) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    )


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if all(name.startswith(_WRAPPED) for name in state):
        return {name.removeprefix(_WRAPPED): tensor for name, tensor in state.items()}
    return dict(state)


def _first(items: Iterable[str], count: int = 3) -> str:
    items = list(items)
    more = f" and {len(items) - count} more" if len(items) > count else ""
    return ", ".join(items[:count]) + more
