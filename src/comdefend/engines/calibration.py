"""Calibrations: what convolutions need to compute in 8-bit integers, and their files."""

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from comdefend.common.atomic import atomic_write
from comdefend.errors import DataMissingError, WeightsError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.weights import Array, PurifierWeights
from comdefend.zoo.stored import opened

Calibration = Mapping[str, Array]
"""Two entries per quantized layer: for the convolution 3 of ComCNN, counted from 0,
``encoder.3.range`` (2,), the smallest and the largest input, and ``encoder.3.bias``, the corrected
bias. Layers without an entry stay in floats."""

_SHIPPED = resources.files("comdefend.engines") / "calibrations"


def save_calibration(
    path: Path, weights: PurifierWeights, calibration: Calibration, record: Mapping[str, Any]
) -> None:
    """Write a calibration, atomically.

    Args:
        path: The ``.safetensors`` file to write.
        weights: The purifier that was calibrated.
        calibration: As `calibrate` returns it.
        record: How it was made, JSON types only.

    Raises:
        OutputError: The file cannot be written.
    """
    metadata = {
        "kind": "calibration",
        "weights": weights.digest,
        "record": json.dumps(record),
    }
    atomic_write(path, save(dict(calibration), metadata))


def shipped_calibration(weights: PurifierWeights) -> Calibration | None:
    """Return the calibration that ships for the weights of a purifier, or None."""
    digest = weights.digest
    for file in _SHIPPED.iterdir():
        if file.name.endswith(".safetensors"):
            metadata, calibration = _open(Path(str(file)))
            if metadata.get("weights") == digest:
                check_calibration(weights.config, calibration, str(file))
                return calibration
    return None


def load_calibration(weights: PurifierWeights, path: Path) -> Calibration:
    """Load the calibration of a purifier.

    Args:
        weights: The purifier.
        path: A file that `save_calibration` wrote.

    Raises:
        DataMissingError: The path does not exist.
        WeightsError: The file is corrupt, or belongs to other weights.
    """
    if not path.is_file():
        raise DataMissingError(f"{path}: no such calibration")
    metadata, calibration = _open(path)
    if metadata.get("kind") != "calibration":
        raise WeightsError(f"{path}: holds no calibration")
    if metadata.get("weights") != weights.digest:
        raise WeightsError(f"{path}: is the calibration of other weights")
    check_calibration(weights.config, calibration, str(path))
    return calibration


def check_calibration(config: PurifierConfig, calibration: Calibration, where: str) -> None:
    """Check that a calibration fits a purifier.

    Raises:
        WeightsError: It does not; the message begins with ``where``.
    """
    layers = dict(_layers(config))
    quantized = {key.rpartition(".")[0] for key in calibration}
    wanted = {f"{name}.{what}" for name in quantized for what in ("range", "bias")}
    if set(calibration) != wanted or not quantized <= set(layers):
        raise WeightsError(f"{where}: does not fit the layers of the weights")
    for name in quantized:
        limits, bias = calibration[f"{name}.range"], calibration[f"{name}.bias"]
        fits = limits.shape == (2,) and bias.shape == (layers[name],)
        finite = np.isfinite(limits).all() and np.isfinite(bias).all()
        if not fits or not finite or not limits[0] < limits[1]:
            raise WeightsError(f"{where}: {name} does not fit the layer of the weights")


def layer_names(config: PurifierConfig, part: str) -> tuple[str, ...]:
    """Return the names of the convolutions of a purifier, or of a part of it, in their order."""
    return tuple(name for name, _ in _layers(config) if part in ("purifier", name.split(".")[0]))


def _layers(config: PurifierConfig) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of output channels of each convolution."""
    for part, channels in (
        ("encoder", config.encoder_channels),
        ("decoder", config.decoder_channels),
    ):
        for index, outputs in enumerate(channels[1:]):
            yield f"{part}.{index}", outputs


def _open(path: Path) -> tuple[dict[str, str], Calibration]:
    with opened(path, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return file.metadata() or {}, tensors
