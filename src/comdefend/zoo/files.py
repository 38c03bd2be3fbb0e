"""Weight files: safetensors that also hold the network's configuration and training record.

The metadata has ``kind`` (``purifier``, ``classifier``, ``denoiser`` or ``pixelcnn``), ``config``
and ``record``, the latter two as JSON. Nothing is ever unpickled, and no size in a header is
trusted before the bounds of the configuration and the shapes of the tensors agree.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from comdefend.common.atomic import atomic_write
from comdefend.common.schema import decode_json
from comdefend.errors import InputError, WeightsError
from comdefend.nn.network import Network

_Network = TypeVar("_Network", bound=Network)
_Value = TypeVar("_Value")


def save_weights(
    path: Path, network: Network, record: Mapping[str, Any], half: bool = False
) -> None:
    """Write a network with its configuration and training record, atomically.

    Args:
        path: The ``.safetensors`` file to write.
        network: The network.
        record: How it was trained and what was measured, JSON types only.
        half: Store floats in 16 bits; loading turns them back into 32.

    Raises:
        OutputError: The file cannot be written.
    """
    tensors = {
        name: (t.half() if half and t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in network.state_dict().items()
    }
    metadata = {
        "kind": network.kind,
        "config": msgspec.json.encode(network.config).decode(),
        "record": msgspec.json.encode(record).decode(),
    }
    atomic_write(path, save(tensors, metadata))


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
    return _decoded(path, "record", dict[str, Any])


def read_network(path: Path, network: type[_Network], device: torch.device | str) -> _Network:
    """Return the network that a weight file holds, in evaluation mode.

    Args:
        path: The file.
        network: The kind of network that it should hold.
        device: Where to put it.

    Raises:
        WeightsError: The file is corrupt, holds another kind of network, an invalid configuration,
            tensors that do not fit it, or weights that are not finite.
    """
    if read_kind(path) != network.kind:
        raise WeightsError(f"{path}: holds no comdefend {network.kind}")
    config = _decoded(path, "config", network.config_type)
    return read_tensors(path, network, config, device)


def read_tensors(
    path: Path, network: type[_Network], config: Any, device: torch.device | str = "cpu"
) -> _Network:
    """Return a network of a configuration with the tensors of a file, in evaluation mode.

    Args:
        path: The ``.safetensors`` file.
        network: The kind of network.
        config: Its configuration.
        device: Where to put it.

    Raises:
        WeightsError: The file is corrupt, holds tensors that do not fit the configuration, or
            weights that are not finite.
    """
    # The meta device holds shapes and no memory: nothing is allocated before the shapes agree.
    with torch.device("meta"):
        empty = network(config)
    shapes = {name: list(tensor.shape) for name, tensor in empty.state_dict().items()}
    tensors = _tensors(path, shapes)
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise WeightsError(f"{path}: holds weights that are infinite or not a number")
    loaded = empty.to_empty(device=device)
    loaded.load_state_dict(tensors)
    return loaded.eval()


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(str(path), framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: corrupt, not a safetensors file ({error})") from error


def _decoded(path: Path, key: str, kind: type[_Value]) -> _Value:
    try:
        return decode_json(kind, _metadata(path).get(key, ""), key)
    except InputError as error:
        raise WeightsError(f"{path}: its metadata holds no valid {error}") from error


def _tensors(path: Path, shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Read tensors of these names and shapes, and no others."""
    try:
        with safe_open(str(path), framework="pt") as file:
            # Names and shapes come from the header: compared before any tensor is read.
            found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            if found != shapes:
                raise WeightsError(f"{path}: its tensors do not fit its configuration")
            return {name: file.get_tensor(name) for name in shapes}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: corrupt ({error})") from error
