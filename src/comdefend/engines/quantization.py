"""Convolutions in 8-bit integers: ranges measured once, put into a graph when it is opened.

Activations take 256 levels over a range of their own a layer, filters 255 levels over a range of
their own an output channel (Jacob et al. 2018). What the rounding shifts on average is taken back
by the biases (Nagel et al. 2019). NNCF measures both; its own graphs leave a bit of the filters
unused, for processors whose sums of products overflow, on which this precision is not offered.
"""

import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from comdefend.common.atomic import atomic_write
from comdefend.common.extras import require
from comdefend.engines.graphs import convolution_dims, require_openvino, to_openvino, trace
from comdefend.errors import DataMissingError, InputError, WeightsError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend

_SHIPPED = resources.files("comdefend.engines") / "calibrations"

Calibration = dict[str, Tensor]
"""What a purifier's layers need for 8-bit integers: ``encoder.3.range`` (2,), the smallest and the
largest input of ComCNN's layer 3, and ``encoder.3.bias``, its corrected bias. Layers without an
entry, counted in convolutions from 0, stay in floats."""


def calibrate(
    purifier: ComDefend, images: Tensor, floats: Collection[str] | None = None
) -> Calibration:
    """Measure a purifier's ranges on real images, by NNCF.

    Args:
        purifier: In evaluation mode, in float32, on the processor.
        images: (N, C, H, W) float32 in [0, 1]: a few hundred real ones, not those of a test.
        floats: Layers to leave in floats, such as ``encoder.1``; by default the first and the last
            of each part and the second of the encoder: they are small, and cost most of the
            precision. The first of the encoder always stays in floats.

    Raises:
        ExtraMissingError: NNCF or OpenVINO is not installed.
        InputError: ``floats`` names a layer that is not there, or images do not fit the purifier.
    """
    layers = dict(_layers(purifier.config))
    if floats is None:
        last = len(purifier.config.encoder_widths), len(purifier.config.decoder_widths)
        floats = "encoder.1", "decoder.0", f"encoder.{last[0]}", f"decoder.{last[1]}"
    floats = {*floats, "encoder.0"}
    if unknown := sorted(set(floats) - set(layers)):
        raise InputError(f"floats: no layers {unknown}; the layers are {', '.join(layers)}")
    require_openvino()
    nncf = require("nncf", "quantize")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    with torch.no_grad():
        inputs = {"encoder": images, "decoder": purifier.encode(images)}
    found: Calibration = {}
    for part, values in inputs.items():
        factor = purifier.config.multiple if part == "encoder" else purifier.config.reduction
        model = to_openvino(trace(getattr(purifier, part), values[:2], convolution_dims(factor)))
        names = [f"{part}.{index}" for index in range(len(_convolutions(model)))]
        convolutions = dict(zip(names, _convolutions(model), strict=True))
        ignored = [convolutions[name].get_friendly_name() for name in names if name in floats]
        quantized = nncf.quantize(
            model,
            nncf.Dataset([value.unsqueeze(0).numpy() for value in values]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(values),
            ignored_scope=nncf.IgnoredScope(names=ignored),
        )
        for name, convolution in zip(names, _convolutions(quantized), strict=True):
            quantizer = convolution.input_value(0).get_node()
            if name in floats or quantizer.get_type_name() != "FakeQuantize":
                continue
            low, high = (quantizer.input_value(i).get_node().get_data().item() for i in (1, 2))
            found[f"{name}.range"] = torch.tensor([low, high])
            found[f"{name}.bias"] = torch.tensor(_bias_of(convolution).get_data()).flatten()
    if (first := "decoder.0") not in floats:
        # Its inputs are bits, of which nothing is lost; NNCF looks for them in the wrong place.
        bias = purifier.decoder.layers[0].bias
        assert isinstance(bias, Tensor)
        found[f"{first}.range"], found[f"{first}.bias"] = torch.tensor([0.0, 1.0]), bias.detach()
    return found


def quantize(model: Any, layers: Sequence[str], calibration: Calibration) -> None:
    """Put a calibration into an ``openvino.Model`` of a purifier or a part of it.

    Args:
        model: Changed in place.
        layers: Names of its convolutions, in their order: `layer_names`.
        calibration: As `calibrate` returns it.
    """
    ops = require("openvino.opset13", "runtime")
    for name, convolution in zip(layers, _convolutions(model), strict=True):
        limits = calibration.get(f"{name}.range")
        if limits is None:
            continue
        low, high = (np.float32(limit) for limit in limits.tolist())
        values = convolution.input_value(0)
        rounded = ops.fake_quantize(values, low, high, low, high, levels=256)
        filters = convolution.input_value(1).get_node()
        largest = np.abs(filters.get_data()).max((1, 2, 3), keepdims=True)
        rounded_filters = ops.fake_quantize(
            filters, -largest, largest, -largest, largest, levels=255
        )
        bias, corrected = _bias_of(convolution), calibration[f"{name}.bias"].numpy()
        replacement = ops.constant(corrected.reshape(bias.get_data().shape))
        for user in bias.output(0).get_target_inputs():
            user.replace_source_output(replacement.output(0))
        convolution.input(0).replace_source_output(rounded.output(0))
        convolution.input(1).replace_source_output(rounded_filters.output(0))


def save_calibration(
    path: Path, purifier: ComDefend, calibration: Calibration, record: dict[str, Any]
) -> None:
    """Write a calibration, atomically.

    Args:
        path: The ``.safetensors`` file to write.
        purifier: Whose it is.
        calibration: As `calibrate` returns it.
        record: How it came about, JSON types only.

    Raises:
        OutputError: The file cannot be written.
    """
    metadata = {
        "kind": "calibration",
        "weights": _digest(purifier),
        "record": json.dumps(record),
    }
    atomic_write(path, save(calibration, metadata))


def shipped_calibration(purifier: ComDefend) -> Calibration | None:
    """Return the calibration that ships for a purifier's weights, None where none does."""
    digest = _digest(purifier)
    for file in _SHIPPED.iterdir():
        if file.name.endswith(".safetensors"):
            metadata, found = _open(Path(str(file)))
            if metadata.get("weights") == digest:
                check_calibration(purifier, found, str(file))
                return found
    return None


def load_calibration(purifier: ComDefend, path: Path) -> Calibration:
    """Load the calibration of a purifier.

    Args:
        purifier: Whose.
        path: A file of `save_calibration`.

    Raises:
        DataMissingError: The path does not exist.
        WeightsError: The file is corrupt, or is that of other weights.
    """
    if not path.is_file():
        raise DataMissingError(f"{path}: no such calibration")
    metadata, found = _open(path)
    if metadata.get("kind") != "calibration":
        raise WeightsError(f"{path}: holds no calibration")
    if metadata.get("weights") != _digest(purifier):
        raise WeightsError(f"{path}: is the calibration of other weights")
    check_calibration(purifier, found, str(path))
    return found


def check_calibration(purifier: ComDefend, calibration: Calibration, where: str) -> None:
    """Check that a calibration fits a purifier.

    Raises:
        WeightsError: It does not; the message begins with ``where``.
    """
    layers = dict(_layers(purifier.config))
    quantized = {key.rpartition(".")[0] for key in calibration}
    wanted = {f"{name}.{what}" for name in quantized for what in ("range", "bias")}
    if set(calibration) != wanted or not quantized <= set(layers):
        raise WeightsError(f"{where}: does not fit the layers of the weights")
    for name in quantized:
        limits, bias = calibration[f"{name}.range"], calibration[f"{name}.bias"]
        fits = limits.shape == (2,) and bias.shape == (layers[name],)
        if not fits or not limits.isfinite().all() or not limits[0] < limits[1]:
            raise WeightsError(f"{where}: {name} does not fit the layer of the weights")


def layer_names(config: PurifierConfig, part: str) -> tuple[str, ...]:
    """Return the names of a purifier's convolutions in their order, or those of a part of it."""
    return tuple(name for name, _ in _layers(config) if part in ("purifier", name.split(".")[0]))


def _layers(config: PurifierConfig) -> Iterator[tuple[str, int]]:
    """Yield each convolution's name and its number of output channels."""
    for part, channels in (
        ("encoder", config.encoder_channels),
        ("decoder", config.decoder_channels),
    ):
        for index, outputs in enumerate(channels[1:]):
            yield f"{part}.{index}", outputs


def _convolutions(model: Any) -> list[Any]:
    return [op for op in model.get_ordered_ops() if op.get_type_name() == "Convolution"]


def _bias_of(convolution: Any) -> Any:
    """Return the constant that is added to a convolution's output."""
    (user,) = convolution.output(0).get_target_inputs()
    return next(
        value.get_node()
        for value in user.get_node().input_values()
        if value.get_node().get_type_name() == "Constant"
    )


def _digest(purifier: ComDefend) -> str:
    digest = hashlib.sha256()
    for name, tensor in purifier.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().data)
    return digest.hexdigest()


def _open(path: Path) -> tuple[dict[str, str], Calibration]:
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, tensors
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: corrupt, not a safetensors file ({error})") from error
