"""Convolutions in 8-bit integers: ranges are measured once, and put into a graph when it is opened.

Activations take 256 levels over a range per layer, filters 255 levels over a range per output
channel (Jacob et al. 2018). Biases compensate the mean error of the rounding (Nagel et al. 2019).
NNCF measures both. Its own graphs leave one bit of the filters unused, for processors on which sums
of products overflow; there this precision is not offered, so here all bits are used.
"""

import logging
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from comdefend.common.extras import require
from comdefend.engines.calibration import Calibration, layer_names
from comdefend.engines.graphs import convolution_dims, to_openvino, trace
from comdefend.errors import InputError
from comdefend.nn.purifier import ComDefend


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
    with torch.no_grad():
        code = purifier.encode(images)
    calibration: Calibration = {}
    for part, values, multiple in (
        ("encoder", images, config.multiple),
        ("decoder", code, config.reduction),
    ):
        network = getattr(purifier, part)
        model = to_openvino(trace(network, values[:2], convolution_dims(multiple)))
        calibration |= _measured(model, values, layer_names(config, part), floats)
    if (first := "decoder.0") not in floats:
        # Its inputs are bits and lose nothing; NNCF does not find their range.
        layer = next(m for m in purifier.decoder.modules() if isinstance(m, nn.Conv2d))
        assert layer.bias is not None
        calibration[f"{first}.range"] = torch.tensor([0.0, 1.0])
        calibration[f"{first}.bias"] = layer.bias.detach()
    return calibration


def _measured(
    model: Any, values: Tensor, layers: Sequence[str], floats: Collection[str]
) -> Calibration:
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
    calibration: Calibration = {}
    for name, convolution in zip(layers, _convolutions(quantized), strict=True):
        quantizer = convolution.input_value(0).get_node()
        if name in floats or quantizer.get_type_name() != "FakeQuantize":
            continue
        low, high = (quantizer.input_value(i).get_node().get_data().item() for i in (1, 2))
        calibration[f"{name}.range"] = torch.tensor([low, high])
        calibration[f"{name}.bias"] = torch.tensor(_bias_of(convolution).get_data()).flatten()
    return calibration


def quantize(model: Any, layers: Sequence[str], calibration: Calibration) -> None:
    """Put a calibration into an ``openvino.Model`` of a purifier or a part of it.

    Args:
        model: Changed in place.
        layers: Names of its convolutions, in their order, from `layer_names`.
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
