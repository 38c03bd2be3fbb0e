"""Convolutions in 8-bit integers: ranges are measured once, and put into a graph when it is opened.

Activations take 256 levels over a range per layer, filters 255 levels over a range per output
channel (Jacob et al. 2018), or 127 on processors where sums of products overflow otherwise. Biases
compensate the mean error of the rounding (Nagel et al. 2019). NNCF measures both.
"""

import logging
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from comdefend.common.extras import require
from comdefend.engines.calibration import Calibration, layer_names
from comdefend.engines.open_vino import openvino_core
from comdefend.engines.purifier_graph import purifier_graph
from comdefend.errors import InputError
from comdefend.nn.purifier import ComDefend
from comdefend.nn.weights import Array


def calibrate(
    purifier: ComDefend, images: Tensor, floats: Collection[str] | None = None
) -> Calibration:
    """Measure the ranges of a purifier's layers on real images, by NNCF.

    Args:
        purifier: In evaluation mode, in float32, on the processor.
        images: (N, C, H, W) float32 in [0, 1]: a few hundred real ones, not those of a test.
        floats: Layers to leave in floats, such as ``encoder.1``. By default the first and the last
            of each part and the second of the encoder, which are small and cost most of the
            precision. The first of the encoder always stays in floats.

    Raises:
        ExtraMissingError: NNCF or OpenVINO is not installed.
        InputError: ``floats`` names a layer that does not exist, or images do not fit the purifier.
    """
    config = purifier.config
    layers = layer_names(config, "purifier")
    if floats is None:
        last = len(config.encoder_widths), len(config.decoder_widths)
        floats = "encoder.1", "decoder.0", f"encoder.{last[0]}", f"decoder.{last[1]}"
    floats = {*floats, "encoder.0"}
    if unknown := sorted(floats - set(layers)):
        raise InputError(f"floats: no layers {unknown}; the layers are {', '.join(layers)}")
    weights = purifier.weights()
    if weights is None:
        raise InputError(
            "only a purifier with its own encoder, decoder and binarizer is calibrated"
        )
    with torch.no_grad():
        code = purifier.encode(images)
    calibration: dict[str, Array] = {}
    for part, values in (("encoder", images), ("decoder", code)):
        graph = purifier_graph(config, weights.tensors, part)
        model = openvino_core().read_model(graph)
        calibration |= _measured(model, values, layer_names(config, part), floats)
    if (first := "decoder.0") not in floats:
        # Its inputs are bits and lose nothing; NNCF does not find their range.
        calibration[f"{first}.range"] = np.array([0, 1], np.float32)
        calibration[f"{first}.bias"] = weights.tensors["decoder.layers.0.bias"]
    return calibration


def _measured(
    model: Any, values: Tensor, layers: Sequence[str], floats: Collection[str]
) -> dict[str, Array]:
    """Return what NNCF measures of an ``openvino.Model`` on its inputs."""
    nncf = require("nncf", "quantize")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    convolutions = dict(zip(layers, _convolutions(model), strict=True))
    ignored = [convolutions[name].get_friendly_name() for name in layers if name in floats]
    quantized = nncf.quantize(
        model,
        nncf.Dataset([value.unsqueeze(0).numpy() for value in values]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(values),
        ignored_scope=nncf.IgnoredScope(names=ignored),
    )
    calibration: dict[str, Array] = {}
    for name, convolution in zip(layers, _convolutions(quantized), strict=True):
        quantizer = convolution.input_value(0).get_node()
        if name in floats or quantizer.get_type_name() != "FakeQuantize":
            continue
        low, high = (quantizer.input_value(i).get_node().get_data().item() for i in (1, 2))
        calibration[f"{name}.range"] = np.array([low, high], np.float32)
        calibration[f"{name}.bias"] = _bias_of(convolution).get_data().flatten()
    return calibration


def _convolutions(model: Any) -> list[Any]:
    return [op for op in model.get_ordered_ops() if op.get_type_name() == "Convolution"]


def _bias_of(convolution: Any) -> Any:
    """Return the constant that is added to the output of a convolution."""
    (user,) = convolution.output(0).get_target_inputs()
    return next(
        value.get_node()
        for value in user.get_node().input_values()
        if value.get_node().get_type_name() == "Constant"
    )
