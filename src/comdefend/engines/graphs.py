"""Networks as graphs that other libraries compute: torch.export, ONNX, OpenVINO."""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from comdefend.common.extras import require


def trace(network: nn.Module, example: Tensor, dims: dict[int, Any]) -> ExportedProgram:
    """Return a network as a graph.

    Args:
        network: One tensor to one tensor, in evaluation mode.
        example: What it takes, on the processor; at least 2 wherever the size is to be free.
        dims: Dimensions of the input that are free, with their ``torch.export.Dim``.
    """
    with _quiet():
        return torch.export.export(network, (example,), dynamic_shapes=(dims,))


def convolution_dims(factor: int = 1) -> dict[int, Any]:
    """Return the free dimensions of (N, C, H, W): any N, and any H and W that a factor divides."""
    height, width = torch.export.Dim("height", min=1), torch.export.Dim("width", min=1)
    if factor > 1:
        height, width = factor * height, factor * width
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
    assert exported is not None  # None is what the older exporter returns
    return exported.model_proto


def to_openvino(program: ExportedProgram) -> Any:
    """Return a graph as an ``openvino.Model``.

    Raises:
        ExtraMissingError: OpenVINO is not installed.
    """
    openvino = require_openvino()
    with _quiet():
        return openvino.convert_model(program)


def require_openvino() -> Any:
    """Import OpenVINO without what it sends home.

    Importing it tells its makers so by network, unless the package that does the telling is
    missing. Who uses a purifier has not agreed to that.

    Raises:
        ExtraMissingError: OpenVINO is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return require("openvino", "runtime")


@cache
def openvino_core() -> Any:
    """Return the process's one ``openvino.Core``, which compiles graphs for the processor.

    Where registers are large (AMX) each core sets aside a stack for signal handlers, and unmaps it
    at its end. Of two cores the last to end leaves the first one's, and the next signal, be it
    Ctrl-C, then ends the process.

    Raises:
        ExtraMissingError: OpenVINO is not installed.
    """
    return require_openvino().Core()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters say of their own insides off the screen."""
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
