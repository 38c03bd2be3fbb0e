"""Weight files: safetensors that also hold the network's configuration and training record.

`comdefend.zoo.stored` says what their metadata holds. Nothing is ever unpickled, and no size in a
header is trusted before the bounds of the configuration and the shapes of the tensors agree.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from safetensors.torch import save

from comdefend.common.atomic import atomic_write
from comdefend.errors import WeightsError
from comdefend.nn.network import Network
from comdefend.zoo.stored import NOT_FINITE, check_kind, check_shapes, decoded, opened

_Network = TypeVar("_Network", bound=Network)


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
    check_kind(path, network.kind)
    config = decoded(path, "config", network.config_type)
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
    with opened(path, "pt") as file:
        check_shapes(path, file, shapes)
        tensors = {name: file.get_tensor(name) for name in shapes}
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise WeightsError(f"{path}: {NOT_FINITE}")
    loaded = empty.to_empty(device=device)
    loaded.load_state_dict(tensors)
    return loaded.eval()
