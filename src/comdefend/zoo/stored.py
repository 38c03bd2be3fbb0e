"""What weight files say and hold, read without torch.

The metadata has ``kind`` (``purifier``, ``classifier``, ``denoiser`` or ``pixelcnn``), ``config``
and ``record``, the latter two as JSON.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from comdefend.common.schema import decode_json
from comdefend.errors import InputError, WeightsError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.layout import tensor_shapes
from comdefend.nn.weights import PurifierWeights

_Value = TypeVar("_Value")

PURIFIER = "purifier"
"""The kind of a `ComDefend`."""

_FLOATS = ("F16", "F32", "F64")


def read_kind(path: Path) -> str:
    """Return the kind of network that a weight file holds, empty where it does not say.

    Raises:
        WeightsError: The file is corrupt.
    """
    return _metadata(path).get("kind", "")


def read_record(path: Path) -> dict[str, Any]:
    """Return the training record of a weight file.

    Raises:
        WeightsError: The file is corrupt or has no record.
    """
    return decoded(path, "record", dict[str, Any])


def decoded(path: Path, key: str, kind: type[_Value]) -> _Value:
    """Return an entry of the metadata.

    Raises:
        WeightsError: The file is corrupt, or has no such entry of that type.
    """
    try:
        return decode_json(kind, _metadata(path).get(key, ""), key)
    except InputError as error:
        raise WeightsError(f"{path}: its metadata holds no valid {error}") from error


def check_kind(path: Path, kind: str) -> None:
    """Raise WeightsError unless a weight file holds this kind of network."""
    if read_kind(path) != kind:
        raise WeightsError(f"{path}: holds no comdefend {kind}")


def read_purifier(path: Path) -> PurifierWeights:
    """Return the purifier that a weight file holds, as arrays.

    Raises:
        WeightsError: The file is corrupt, holds another kind of network, an invalid configuration,
            tensors that do not fit it, or weights that are not finite.
    """
    check_kind(path, PURIFIER)
    config = decoded(path, "config", PurifierConfig)
    shapes = tensor_shapes(config)
    with opened(path, "np") as file:
        check_shapes(path, file, {name: list(shape) for name, shape in shapes.items()})
        if any(file.get_slice(name).get_dtype() not in _FLOATS for name in shapes):
            raise WeightsError(f"{path}: its weights are not floats of 16, 32 or 64 bits")
        tensors = {name: file.get_tensor(name).astype(np.float32) for name in shapes}
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise WeightsError(f"{path}: {NOT_FINITE}")
    return PurifierWeights(config, tensors)


NOT_FINITE = "holds weights that are infinite or not a number"


def check_shapes(path: Path, file: Any, shapes: dict[str, list[int]]) -> None:
    """Check the names and shapes in the header of an open file, before any tensor is read.

    Raises:
        WeightsError: They are others.
    """
    found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    if found != shapes:
        raise WeightsError(f"{path}: its tensors do not fit its configuration")


@contextmanager
def opened(path: Path, framework: str) -> Iterator[Any]:
    """Open a safetensors file: ``np`` for arrays, ``pt`` for tensors of torch.

    Raises:
        WeightsError: It is corrupt.
    """
    try:
        with safe_open(str(path), framework=framework) as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: corrupt, not a safetensors file ({error})") from error


def _metadata(path: Path) -> dict[str, str]:
    with opened(path, "np") as file:
        return file.metadata() or {}
