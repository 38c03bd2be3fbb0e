"""Weight files: safetensors with configuration and training record, by name or by path.

A file's metadata holds ``kind`` (``purifier``, ``classifier``, ``denoiser`` or ``pixelcnn``),
``config`` and ``record``, the latter two as JSON. Nothing is ever unpickled, and no size in a
header is believed before the configuration's bounds and the tensors' shapes agree.
"""

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from comdefend.common.atomic import atomic_write
from comdefend.errors import DataMissingError, InputError, WeightsError
from comdefend.nn.classifier import ClassifierConfig, SmallClassifier
from comdefend.nn.config import PurifierConfig
from comdefend.nn.denoiser import Denoiser, DenoiserConfig
from comdefend.nn.pixelcnn import PixelCNN, PixelCNNConfig
from comdefend.nn.purifier import ComDefend

_SHIPPED = resources.files("comdefend.weights") / "shipped"
_SUFFIX = ".safetensors"
_KINDS: dict[type[nn.Module], str] = {
    ComDefend: "purifier",
    SmallClassifier: "classifier",
    Denoiser: "denoiser",
    PixelCNN: "pixelcnn",
}


def weights() -> list[str]:
    """Return the names of the shipped purifiers, for `load`."""
    return _names("purifier")


def classifier_weights() -> list[str]:
    """Return the names of the shipped classifiers, for `load_classifier`."""
    return _names("classifier")


def load(name: str | Path, device: torch.device | str = "cpu") -> ComDefend:
    """Load a purifier in evaluation mode.

    Args:
        name: A name of `weights`, or the path of a ``.safetensors`` file made by training;
            followed by ``@BPP`` for fewer bits a pixel, where the weights work at several.
        device: Where to put it.

    Raises:
        InputError: Unknown name, or a rate that the weights do not have; the message lists the
            known ones.
        DataMissingError: The path does not exist.
        WeightsError: The file is corrupt, or holds something else than a purifier.
    """
    stored, bpp = split_rate(str(name))
    config, path = _open(stored, "purifier", PurifierConfig)
    with torch.device("meta"):
        purifier = ComDefend(config)
    purifier = _fill(purifier, path, device)
    return purifier if bpp is None else purifier.at(bpp)


def split_rate(name: str) -> tuple[str, float | None]:
    """Split ``NAME@BPP`` into the name or path of weights and the bits a pixel.

    Raises:
        InputError: What stands behind the last @ is no number.
    """
    stored, at, bpp = name.rpartition("@")
    if not at or name.endswith(_SUFFIX):
        return name, None
    try:
        return stored, float(bpp)
    except ValueError:
        raise InputError(f"{name}: behind @ stand bits a pixel, not '{bpp}'") from None


def load_classifier(name: str | Path, device: torch.device | str = "cpu") -> SmallClassifier:
    """Load a small classifier in evaluation mode; it takes images in [0, 1].

    Args:
        name: A name of `classifier_weights`, or the path of a ``.safetensors`` file.
        device: Where to put it.

    Raises:
        InputError: Unknown name; the message lists the known ones.
        DataMissingError: The path does not exist.
        WeightsError: The file is corrupt, or holds something else than a classifier.
    """
    config, path = _open(name, "classifier", ClassifierConfig)
    with torch.device("meta"):
        classifier = SmallClassifier(config)
    return _fill(classifier, path, device)


def load_purifying(
    name: str | Path, device: torch.device | str = "cpu"
) -> ComDefend | Denoiser | PixelCNN:
    """Load whatever a weight file holds to purify images by, in evaluation mode.

    Args:
        name: A name of `weights`, or the path of a ``.safetensors`` file.
        device: Where to put it.

    Raises:
        InputError, DataMissingError: As for `load`.
        WeightsError: The file is corrupt, or holds nothing that purifies.
    """
    kind = _metadata(_locate(split_rate(str(name))[0], weights())).get("kind")
    if kind == "denoiser":
        config, path = _open(name, kind, DenoiserConfig)
        with torch.device("meta"):
            denoiser = Denoiser(config)
        return _fill(denoiser, path, device)
    if kind == "pixelcnn":
        model_config, path = _open(name, kind, PixelCNNConfig)
        with torch.device("meta"):
            model = PixelCNN(model_config)
        return _fill(model, path, device)
    return load(name, device)


def load_record(name: str | Path) -> dict[str, Any]:
    """Return the training record of a weight file: recipe, data, seed and what was measured.

    Args:
        name: A shipped name, or the path of a ``.safetensors`` file.

    Raises:
        InputError, DataMissingError, WeightsError: As for `load`.
    """
    path = _locate(split_rate(str(name))[0], weights() + classifier_weights())
    return _json(_metadata(path), "record", path)


def checksum(name: str | Path) -> str:
    """Return the SHA-256 of a weight file.

    Args:
        name: A shipped name, or the path of a ``.safetensors`` file; a rate behind it is left out.

    Raises:
        InputError, DataMissingError, WeightsError: As for `load`.
    """
    path = _locate(split_rate(str(name))[0], weights() + classifier_weights())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save_weights(
    path: Path,
    module: ComDefend | SmallClassifier | Denoiser | PixelCNN,
    record: dict[str, Any],
    half: bool = False,
) -> None:
    """Write a module with its configuration and training record, atomically.

    Args:
        path: The ``.safetensors`` file to write.
        module: A network of one of the kinds.
        record: How it was trained and what it measured, JSON types only.
        half: Store floats in 16 bits; loading turns them back into 32.

    Raises:
        OutputError: The file cannot be written.
    """
    tensors = {
        name: (t.half() if half and t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in module.state_dict().items()
    }
    metadata = {
        "kind": _KINDS[type(module)],
        "config": json.dumps(module.config.to_dict()),
        "record": json.dumps(record),
    }
    atomic_write(path, save(tensors, metadata))


def _index() -> dict[str, dict[str, str]]:
    """Name -> kind and SHA-256 of the shipped files."""
    return json.loads((_SHIPPED / "index.json").read_text())


def _names(kind: str) -> list[str]:
    return sorted(name for name, entry in _index().items() if entry["kind"] == kind)


def _locate(name: str, known: list[str]) -> Path:
    if not name.endswith(_SUFFIX):
        if name not in known:
            raise InputError(
                f"unknown weights '{name}'; known: {', '.join(known)}, or a {_SUFFIX} file"
            )
        path = Path(str(_SHIPPED / f"{name}{_SUFFIX}"))
        if not path.is_file():
            raise WeightsError(f"{path}: missing from the installation; install comdefend again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != _index()[name]["sha256"]:
            raise WeightsError(
                f"{path}: corrupt, its SHA-256 is not the published one; install comdefend again"
            )
        return path
    if not (path := Path(name)).is_file():
        raise DataMissingError(f"{name}: no such weight file")
    return path


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(str(path), framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: corrupt, not a safetensors file ({error})") from error


_Config = TypeVar("_Config", PurifierConfig, ClassifierConfig, DenoiserConfig, PixelCNNConfig)


def _open(name: str | Path, kind: str, config: type[_Config]) -> tuple[_Config, Path]:
    path = _locate(str(name), _names(kind))
    metadata = _metadata(path)
    if metadata.get("kind") != kind:
        raise WeightsError(f"{path}: holds no comdefend {kind}")
    try:
        return config.from_dict(_json(metadata, "config", path)), path
    except InputError as error:
        raise WeightsError(f"{path}: its metadata holds no valid config ({error})") from error


def _json(metadata: dict[str, str], key: str, path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(metadata[key]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: its metadata holds no valid {key}") from error


_Module = TypeVar("_Module", bound=nn.Module)


def _fill(module: _Module, path: Path, device: torch.device | str) -> _Module:
    """Load tensors into a module on the meta device, which holds shapes and no memory."""
    expected = module.state_dict()
    try:
        with safe_open(str(path), framework="pt") as file:
            # Names and shapes come from the header; compare them before reading any tensor.
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            if shapes != {name: list(tensor.shape) for name, tensor in expected.items()}:
                raise WeightsError(f"{path}: its tensors do not fit its configuration")
            tensors = {name: file.get_tensor(name) for name in shapes}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: corrupt ({error})") from error
    module.to_empty(device=device).load_state_dict(tensors)
    return module.eval()
