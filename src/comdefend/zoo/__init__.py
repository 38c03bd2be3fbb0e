"""Weights by name or path: the files that ship, and those that training writes.

torch is imported by what returns its networks, and not before.
"""

import functools
import hashlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from comdefend.errors import DataMissingError, InputError, WeightsError
from comdefend.nn.weights import PurifierWeights
from comdefend.zoo.stored import read_kind, read_purifier, read_record

if TYPE_CHECKING:
    import torch

    from comdefend.nn.classifier import SmallClassifier
    from comdefend.nn.denoiser import Denoiser
    from comdefend.nn.pixelcnn import PixelCNN
    from comdefend.nn.purifier import ComDefend
    from comdefend.zoo.files import save_weights

__all__ = [
    "checksum", "classifier_weights", "load", "load_arrays", "load_classifier", "load_purifying",
    "load_record", "save_weights", "split_rate", "weights",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "save_weights":
        from comdefend.zoo.files import save_weights

        return save_weights
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


_SHIPPED = resources.files("comdefend.zoo") / "shipped"
_SUFFIX = ".safetensors"


class _Shipped(msgspec.Struct, frozen=True):
    """A shipped file: the kind of its network, and its checksum."""

    kind: Literal["purifier", "classifier"]
    sha256: str


def weights() -> list[str]:
    """Return the names of the shipped purifiers, for `load`."""
    return _names("purifier")


def classifier_weights() -> list[str]:
    """Return the names of the shipped classifiers, for `load_classifier`."""
    return _names("classifier")


def load(name: str | Path, device: "torch.device | str" = "cpu") -> "ComDefend":
    """Load a purifier in evaluation mode.

    Args:
        name: One of `weights`, or the path of a ``.safetensors`` file made by training. Followed
            by ``@BPP`` for fewer bits per pixel, if the weights work at several rates.
        device: Where to put it.

    Raises:
        InputError: Unknown name, or a rate that the weights do not have; the message lists the
            known ones.
        DataMissingError: The path does not exist.
        WeightsError: The file is corrupt, or does not hold a purifier.
    """
    from comdefend.nn.purifier import ComDefend
    from comdefend.zoo.files import read_network

    stored, bpp = split_rate(str(name))
    purifier = read_network(_locate(stored, weights()), ComDefend, device)
    return purifier if bpp is None else purifier.at(bpp)


def load_arrays(name: str | Path) -> PurifierWeights:
    """Load a purifier as arrays, without torch.

    Args:
        name: As for `load`.

    Raises:
        InputError, DataMissingError, WeightsError: As for `load`.
    """
    stored, bpp = split_rate(str(name))
    purifier = read_purifier(_locate(stored, weights()))
    return purifier if bpp is None else purifier.at(bpp)


def split_rate(name: str) -> tuple[str, float | None]:
    """Split ``NAME@BPP`` into the name or path of weights and the bits per pixel.

    Raises:
        InputError: The part after the last @ is not a number.
    """
    stored, at, bpp = name.rpartition("@")
    if not at or name.endswith(_SUFFIX):
        return name, None
    try:
        return stored, float(bpp)
    except ValueError:
        raise InputError(f"{name}: after @ come bits per pixel, not '{bpp}'") from None


def load_classifier(name: str | Path, device: "torch.device | str" = "cpu") -> "SmallClassifier":
    """Load a small classifier in evaluation mode; it takes images in [0, 1].

    Args:
        name: One of `classifier_weights`, or the path of a ``.safetensors`` file.
        device: Where to put it.

    Raises:
        InputError: Unknown name; the message lists the known ones.
        DataMissingError: The path does not exist.
        WeightsError: The file is corrupt, or does not hold a classifier.
    """
    from comdefend.nn.classifier import SmallClassifier
    from comdefend.zoo.files import read_network

    return read_network(_locate(str(name), classifier_weights()), SmallClassifier, device)


def load_purifying(
    name: str | Path, device: "torch.device | str" = "cpu"
) -> "ComDefend | Denoiser | PixelCNN":
    """Load any network that purifies images, in evaluation mode.

    Args:
        name: One of `weights`, or the path of a ``.safetensors`` file.
        device: Where to put it.

    Raises:
        InputError, DataMissingError: As for `load`.
        WeightsError: The file is corrupt, or does not hold a network that purifies.
    """
    from comdefend.nn.denoiser import Denoiser
    from comdefend.nn.pixelcnn import PixelCNN
    from comdefend.zoo.files import read_network

    stored, bpp = split_rate(str(name))
    path = _locate(stored, weights())
    kind = read_kind(path)
    if kind not in (Denoiser.kind, PixelCNN.kind):
        return load(name, device)
    if bpp is not None:
        raise InputError(f"{name}: a {kind} has no rates; leave @{bpp:g} out")
    if kind == Denoiser.kind:
        return read_network(path, Denoiser, device)
    return read_network(path, PixelCNN, device)


def load_record(name: str | Path) -> dict[str, Any]:
    """Return the training record of a weight file: recipe, data, seed and measurements.

    Args:
        name: A shipped name, or the path of a ``.safetensors`` file.

    Raises:
        InputError, DataMissingError, WeightsError: As for `load`.
    """
    return read_record(_locate_any(name))


def checksum(name: str | Path) -> str:
    """Return the SHA-256 of a weight file.

    Args:
        name: A shipped name, or the path of a ``.safetensors`` file; a rate after it is ignored.

    Raises:
        InputError, DataMissingError, WeightsError: As for `load`.
    """
    return _digest(_locate_any(name))


def _index() -> dict[str, _Shipped]:
    return _read_index(*_version(Path(str(_SHIPPED / "index.json"))))


@functools.lru_cache(maxsize=1)
def _read_index(path: Path, *version: int) -> dict[str, _Shipped]:
    return msgspec.json.decode(path.read_bytes(), type=dict[str, _Shipped])


def _names(kind: str) -> list[str]:
    return sorted(name for name, shipped in _index().items() if shipped.kind == kind)


def _locate_any(name: str | Path) -> Path:
    return _locate(split_rate(str(name))[0], weights() + classifier_weights())


def _locate(name: str, known: list[str]) -> Path:
    if name.endswith(_SUFFIX):
        if not (path := Path(name)).is_file():
            raise DataMissingError(f"{name}: no such weight file")
        return path
    if name not in known:
        raise InputError(
            f"unknown weights '{name}'; known: {', '.join(known)}, or a {_SUFFIX} file"
        )
    path = Path(str(_SHIPPED / f"{name}{_SUFFIX}"))
    if not path.is_file():
        raise WeightsError(f"{path}: missing from the installation; install comdefend again")
    if _digest(path) != _index()[name].sha256:
        raise WeightsError(
            f"{path}: corrupt, its SHA-256 is not the published one; install comdefend again"
        )
    return path


def _digest(path: Path) -> str:
    return _read_digest(*_version(path))


@functools.lru_cache(maxsize=64)
def _read_digest(path: Path, *version: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _version(path: Path) -> tuple[Path, int, int, int]:
    """Return a path, and what tells that its file has changed since it was read."""
    status = path.stat()
    return path, status.st_ino, status.st_size, status.st_mtime_ns
