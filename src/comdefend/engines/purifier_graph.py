"""A purifier as an ONNX graph, written from its configuration and weights alone.

Tracing the same graph with torch takes seconds and half a gigabyte. ONNX Runtime computes it as it
is, OpenVINO reads it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from comdefend.common.extras import require
from comdefend.engines.calibration import Calibration
from comdefend.nn.config import PurifierConfig
from comdefend.nn.layout import layers
from comdefend.nn.weights import Array

_OPSET = 20  # the first with GELU
_IR_VERSION = 10


class Rounding(msgspec.Struct, frozen=True, eq=False):
    """How layers compute in 8-bit integers.

    Attributes:
        calibration: As `comdefend.engines.calibration` describes it, as arrays.
        filter_bits: Bits of a filter, with its sign.
    """

    calibration: Calibration
    filter_bits: int = 8


def purifier_graph(
    config: PurifierConfig,
    weights: Mapping[str, Array],
    part: str = "purifier",
    rounding: Rounding | None = None,
) -> bytes:
    """Return a purifier, or a part of it, in evaluation mode, as an ONNX file.

    Its input ``input`` and output ``output`` are (N, C, H, W) float32 of any N, H and W, like those
    of `comdefend.nn.purifier.ComCNN` and `RecCNN`.

    Args:
        config: The architecture.
        weights: Of the shapes that `comdefend.nn.layout.tensor_shapes` tells.
        part: ``purifier``, ``encoder`` (images to logits) or ``decoder`` (code to images).

    Raises:
        ExtraMissingError: ONNX is not installed.
    """
    graph = _Graph()
    # A plane is one bit of every value; inside of a purifier, their order as maps does not matter.
    planes = [graph.input]
    if part != "decoder":
        planes = _encoder(graph, config, weights, rounding)
    if part == "purifier":
        planes = [_binarized(graph, plane, config.binary) for plane in planes]
    elif part == "encoder":
        return graph.serialized(_maps(graph, config, planes), config.channels, config.code_maps)
    else:
        planes = _planes(graph, config)
    inputs = config.code_maps if part == "decoder" else config.channels
    return graph.serialized(
        _decoder(graph, config, weights, rounding, planes), inputs, config.channels
    )


class _Graph:
    """An ONNX graph that grows node by node; nodes and constants are known by their names."""

    input = "input"

    def __init__(self) -> None:
        self._onnx = require("onnx", "runtime")
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, value: npt.ArrayLike, dtype: type = np.float32) -> str:
        name = f"constant_{len(self._constants)}"
        array: npt.NDArray[Any] = np.ascontiguousarray(value, dtype)
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def serialized(self, output: str, inputs: int, outputs: int) -> bytes:
        helper = self._onnx.helper
        self._nodes.append(helper.make_node("Identity", [output], ["output"]))
        ends = [
            helper.make_tensor_value_info(
                name, self._onnx.TensorProto.FLOAT, ["n", channels, f"{name}_h", f"{name}_w"]
            )
            for name, channels in ((self.input, inputs), ("output", outputs))
        ]
        graph = helper.make_graph(self._nodes, "purifier", ends[:1], ends[1:], self._constants)
        opset = helper.make_opsetid("", _OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
        serialized: bytes = model.SerializeToString()
        return serialized


def _encoder(
    graph: _Graph, config: PurifierConfig, weights: Mapping[str, Array], rounding: Rounding | None
) -> list[str]:
    """Add an encoder; return its logits, plane by plane."""
    blocks = _unshuffled(graph, graph.input, config.multiple)
    centred = graph.add("Sub", blocks, graph.constant(0.5))
    values = _convolved(graph, config, weights, rounding, "encoder", config.multiple, centred)
    values = _shuffled(graph, values, config.reduction)
    planes = [values]
    for bit in range(1, config.value_bits):
        width = graph.constant(2.0 ** (config.value_bits - bit))
        planes.append(graph.add("Sub", width, graph.add("Abs", planes[-1])))
    return planes


def _decoder(
    graph: _Graph,
    config: PurifierConfig,
    weights: Mapping[str, Array],
    rounding: Rounding | None,
    planes: list[str],
) -> str:
    """Add a decoder of a code, plane by plane; return the images."""
    values = planes[0] if len(planes) == 1 else _unfolded(graph, planes)
    blocks = _unshuffled(graph, values, config.reduction)
    pixels = _convolved(graph, config, weights, rounding, "decoder", config.reduction, blocks)
    return graph.add("Sigmoid", _shuffled(graph, pixels, config.multiple))


def _binarized(graph: _Graph, logits: str, binary: bool) -> str:
    if not binary:
        return graph.add("Sigmoid", logits)
    return graph.add("Cast", graph.add("Greater", logits, graph.constant(0.0)), to=1)  # float32


def _convolved(
    graph: _Graph,
    config: PurifierConfig,
    weights: Mapping[str, Array],
    rounding: Rounding | None,
    part: str,
    block: int,
    values: str,
) -> str:
    """Add the convolutions of a part, and the activations between them."""
    activation = "Elu" if config.activation == "elu" else "Gelu"
    stack = layers(config, part)
    for number, layer in enumerate(stack):
        filters, bias = (weights[f"{layer.name}.{what}"] for what in ("weight", "bias"))
        if number == 0 and block > 1:
            filters = _reordered(filters, block)
        name = f"{part}.{number}"
        inputs = values
        if rounding is not None and f"{name}.range" in rounding.calibration:
            bias = rounding.calibration[f"{name}.bias"]
            limits = rounding.calibration[f"{name}.range"]
            inputs, kernel = _rounded(graph, values, limits, filters, rounding.filter_bits)
        else:
            kernel = graph.constant(filters)
        convolved = graph.add(
            "Conv",
            inputs,
            kernel,
            kernel_shape=[layer.kernel] * 2,
            pads=[layer.kernel // 2] * 4,
        )
        convolved = graph.add("Add", convolved, graph.constant(bias.reshape(1, -1, 1, 1)))
        if number == len(stack) - 1:
            return convolved
        active = graph.add(activation, convolved)
        values = graph.add("Add", values, active) if layer.residual else active
    raise AssertionError("a part has convolutions")


def _rounded(
    graph: _Graph, values: str, limits: Array, filters: Array, filter_bits: int
) -> tuple[str, str]:
    """Return inputs of a convolution rounded to 8 bits, and its filters rounded to their bits."""
    low, high = (float(limit) for limit in limits)
    step = graph.constant((high - low) / 255)
    zero = graph.constant(round(-low * 255 / (high - low)), np.uint8)
    rounded = graph.add("QuantizeLinear", values, step, zero)
    most = 2 ** (filter_bits - 1) - 1
    largest = np.abs(filters).max((1, 2, 3))
    steps = np.maximum(largest, np.finfo(np.float32).tiny * most) / most
    whole = np.rint(filters / steps.reshape(-1, 1, 1, 1))
    kernel = graph.add(
        "DequantizeLinear", graph.constant(whole, np.int8), graph.constant(steps), axis=0
    )
    return graph.add("DequantizeLinear", rounded, step, zero), kernel


def _reordered(filters: Array, block: int) -> Array:
    """Return filters for values in the order of ONNX: the pixels of a block before its channels."""
    outputs, inputs, *kernel = filters.shape
    split = filters.reshape(outputs, inputs // block**2, block**2, *kernel)
    return split.swapaxes(1, 2).reshape(filters.shape)


def _unshuffled(graph: _Graph, values: str, factor: int) -> str:
    return values if factor == 1 else graph.add("SpaceToDepth", values, blocksize=factor)


def _shuffled(graph: _Graph, values: str, factor: int) -> str:
    if factor == 1:
        return values
    return graph.add("DepthToSpace", values, blocksize=factor, mode="CRD")


def _unfolded(graph: _Graph, planes: list[str]) -> str:
    """Add what turns bits into the values that they tell: see `comdefend.nn.gray_code.Unfold`."""
    times, minus = partial(graph.add, "Mul"), partial(graph.add, "Sub")
    number: Callable[[float], str] = graph.constant
    signs = [minus(times(plane, number(2.0)), number(1.0)) for plane in planes]
    value = times(signs[-1], number(0.5 ** len(planes)))
    for bit in range(len(planes) - 1, 0, -1):
        value = times(signs[bit - 1], minus(number(0.5**bit), value))
    largest = 1 - 0.5 ** len(planes)
    return graph.add("Add", times(value, number(1 / (2 * largest))), number(0.5))


def _maps(graph: _Graph, config: PurifierConfig, planes: list[str]) -> str:
    """Return planes as maps, of which those of a value follow each other."""
    if len(planes) == 1:
        return planes[0]
    order = np.arange(config.code_maps).reshape(len(planes), -1).T.flatten()
    together = graph.add("Concat", *planes, axis=1)
    return graph.add("Gather", together, graph.constant(order, np.int64), axis=1)


def _planes(graph: _Graph, config: PurifierConfig) -> list[str]:
    """Return the planes of the input, a code of maps."""
    bits = config.value_bits
    if bits == 1:
        return [graph.input]
    maps = np.arange(config.code_maps)
    chosen = (graph.constant(maps[bit::bits], np.int64) for bit in range(bits))
    return [graph.add("Gather", graph.input, indices, axis=1) for indices in chosen]
