"""What has been computed already, on disk: work that was stopped goes on from there."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from comdefend.atomic import atomic_write


class Store:
    """Results by what they are results of.

    A key holds everything that a result depends on: fingerprints of data and weights, attack,
    bound, steps, seed. Another experiment in the same folder, or other weights under the same
    name, therefore finds nothing that is not its own.

    Args:
        folder: Where the files go; made when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def result(self, key: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the JSON result of a key, computed where it is not there yet."""
        path = self._path(key, ".json")
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            # Missing or damaged: the same to whoever needs it.
            found = compute()
        atomic_write(path, json.dumps(found).encode())
        return found

    def tensor(self, key: dict[str, Any], compute: Callable[[], Tensor]) -> Tensor:
        """Return the tensor of a key, computed where it is not there yet."""
        path = self._path(key, ".safetensors")
        try:
            return load(path.read_bytes())["tensor"]
        except (OSError, SafetensorError, KeyError):
            found = compute().contiguous()
        atomic_write(path, save({"tensor": found}))
        return found

    def _path(self, key: dict[str, Any], suffix: str) -> Path:
        text = json.dumps({**key, "torch": torch.__version__}, sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}{suffix}"
