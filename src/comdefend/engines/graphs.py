"""Networks as graphs that other libraries compute: torch.export, ONNX, OpenVINO."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from comdefend.common.extras import require
from comdefend.engines.engine import Computation
from comdefend.engines.open_vino import require_openvino


def trace(network: nn.Module, example: Tensor, dims: dict[int, Any]) -> ExportedProgram:
    """Return a network as a graph.

    Args:
        network: One tensor to one tensor, in evaluation mode.
        example: An input, on the processor; at least 2 in each dimension that may vary.
        dims: Dimensions of the input that may vary, with their ``torch.export.Dim``.
    """
    with _quiet():
        return torch.export.export(network, (example,), dynamic_shapes=(dims,))


def convolution_dims(multiple: int | None = 1) -> dict[int, Any]:
    """Return the dimensions of (N, C, H, W) that may vary: N, and H and W by steps of a multiple.

    Args:
        multiple: What divides H and W; None if nothing may vary.
    """
    if multiple is None:
        return {}
    height, width = torch.export.Dim("height", min=1), torch.export.Dim("width", min=1)
    if multiple > 1:
        height, width = multiple * height, multiple * width
    return {0: torch.export.Dim("batch", min=1), 2: height, 3: width}


def to_onnx(program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """Return a graph as an ``onnx.ModelProto``.

    Raises:
        ExtraMissingError: ONNX is not installed.
    """
    for module in ("onnx", "onnxscript"):
        require(module, "runtime")
    with _quiet():
        exported = torch.onnx.export(
            program, (), dynamo=True, verbose=False, input_names=inputs, output_names=outputs
        )
    assert exported is not None  # only the older exporter returns None
    return exported.model_proto


def traced(computation: Computation) -> bytes:
    """Return a network as an ONNX file with the input ``input``.

    Raises:
        ExtraMissingError: ONNX is not installed.
    """
    dims = convolution_dims(computation.multiple)
    program = trace(computation.network, computation.example, dims)
    serialized: bytes = to_onnx(program, ["input"], ["output"]).SerializeToString()
    return serialized


def to_openvino(program: ExportedProgram) -> Any:
    """Return a graph as an ``openvino.Model``.

    Raises:
        ExtraMissingError: OpenVINO is not installed.
    """
    openvino = require_openvino()
    with _quiet():
        return openvino.convert_model(program)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporters' messages about their internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
