"""Finished results on disk, so that work that was stopped can resume."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from comdefend.common.atomic import atomic_write


class Store:
    """Results, stored under everything that they depend on.

    A key holds fingerprints of data and weights, attack, bound, steps and seed. So another
    experiment in the same folder, or other weights of the same name, cannot pick up wrong results.

    Args:
        folder: Where the files go; made when first needed.
        common: What all results depend on, such as versions and the device.
    """

    def __init__(self, folder: Path, common: dict[str, Any]) -> None:
        self.folder, self.common = folder, common

    def result(self, key: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the JSON result of a key, computed if it is not stored yet."""
        result = self.found(key)
        if result is None:
            result = compute()
            self.keep(key, result)
        return result

    def found(self, key: dict[str, Any]) -> dict[str, Any] | None:
        """Return the JSON result of a key; None where it is missing or damaged."""
        try:
            return dict(json.loads(self._path(key).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def keep(self, key: dict[str, Any], result: dict[str, Any]) -> None:
        """Store the JSON result of a key."""
        atomic_write(self._path(key), json.dumps(result).encode())

    def _path(self, key: dict[str, Any]) -> Path:
        return self.folder / f"{self.name(key)}.json"

    def tensor(self, key: dict[str, Any], compute: Callable[[], Tensor]) -> Tensor:
        """Return the tensor of a key, computed if it is not stored yet."""
        name = self.name(key)
        tensor = self.found_tensor(name)
        if tensor is None:
            tensor = compute().contiguous()
            self.keep_tensor(name, tensor)
        return tensor

    def name(self, key: dict[str, Any]) -> str:
        """Return the name under which the result of a key is stored."""
        text = json.dumps({**self.common, **key}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def found_tensor(self, name: str) -> Tensor | None:
        """Return the tensor of a name; None where it is missing or damaged."""
        try:
            return load((self.folder / f"{name}.safetensors").read_bytes())["tensor"]
        except (OSError, SafetensorError, KeyError):
            return None

    def keep_tensor(self, name: str, tensor: Tensor) -> None:
        """Store the tensor of a name."""
        atomic_write(self.folder / f"{name}.safetensors", save({"tensor": tensor}))
