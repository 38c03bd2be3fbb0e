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
            return dict(json.loads(self._path(key, ".json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def keep(self, key: dict[str, Any], result: dict[str, Any]) -> None:
        """Store the JSON result of a key."""
        atomic_write(self._path(key, ".json"), json.dumps(result).encode())

    def tensor(self, key: dict[str, Any], compute: Callable[[], Tensor]) -> Tensor:
        """Return the tensor of a key, computed if it is not stored yet."""
        path = self._path(key, ".safetensors")
        try:
            return load(path.read_bytes())["tensor"]
        except (OSError, SafetensorError, KeyError):
            tensor = compute().contiguous()
        atomic_write(path, save({"tensor": tensor}))
        return tensor

    def _path(self, key: dict[str, Any], suffix: str) -> Path:
        text = json.dumps({**self.common, **key}, sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}{suffix}"
