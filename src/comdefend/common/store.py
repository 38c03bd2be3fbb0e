"""What has been computed already, on disk: work that was stopped goes on from there."""

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
    """Results by what they are results of.

    A key holds what a result depends on: fingerprints of data and weights, attack, bound, steps,
    seed. Another experiment in the same folder, or other weights under the same name, therefore
    finds nothing that is not its own.

    Args:
        folder: Where the files go; made when first needed.
        common: What all results depend on, such as versions and the device.
    """

    def __init__(self, folder: Path, common: dict[str, Any]) -> None:
        self.folder, self.common = folder, common

    def result(self, key: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the JSON result of a key, computed where it is not there yet."""
        path = self._path(key, ".json")
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
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
        text = json.dumps({**self.common, **key}, sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}{suffix}"
