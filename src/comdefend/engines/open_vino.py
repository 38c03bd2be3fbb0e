"""The engine ``openvino``."""

import sys
from collections import deque
from functools import cache
from typing import Any

from comdefend.common.extras import require
from comdefend.common.processor import native_bf16
from comdefend.engines.arrays import Array, Run

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def open_graph(graph: bytes, precision: str, threads: int | None) -> Run:
    """Open an ONNX file in OpenVINO; several threads may call the result.

    Args:
        graph: With one input and one output.
        precision: ``float32``, ``bfloat16`` or ``int8``; for the latter, the graph says what is
            rounded, and how.
        threads: How many compute; None: one a core.

    Raises:
        ExtraMissingError: OpenVINO is not installed.
    """
    require_openvino()
    core = openvino_core()
    # With int8, layers that are not quantized compute in the hinted precision.
    hint = _HINTS.get(precision, "bf16" if native_bf16("cpu") else "f32")
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = core.compile_model(core.read_model(graph), "CPU", settings)
    # A request has its own activations, and shares the weights; each call borrows one.
    idle: deque[Any] = deque()

    def run(values: Array) -> Array:
        try:
            request = idle.pop()
        except IndexError:
            request = compiled.create_infer_request()
        output: Array = request.infer([values], share_inputs=True)[0]
        idle.append(request)
        return output

    return run


def require_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    OpenVINO reports over the network that it was imported, unless its telemetry package is missing.
    Users of a purifier have not agreed to that.

    Raises:
        ExtraMissingError: OpenVINO is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return require("openvino", "runtime")


@cache
def openvino_core() -> Any:
    """Return the only ``openvino.Core`` of the process, which compiles graphs for the processor.

    On processors with large registers (AMX), each core allocates a stack for signal handlers and
    unmaps it when it is deleted. With two cores, the process can be left with a stack that is
    unmapped already, and the next signal, such as Ctrl-C, crashes it.

    Raises:
        ExtraMissingError: OpenVINO is not installed.
    """
    return require_openvino().Core()
