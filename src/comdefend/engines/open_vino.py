"""The engine ``openvino``."""

import torch
from torch import Tensor

from comdefend.common.processor import native_bf16
from comdefend.engines.engine import Computation, Network
from comdefend.engines.graphs import convolution_dims, openvino_core, to_openvino, trace

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def open_graph(computation: Computation) -> Network:
    """Open a network in OpenVINO.

    Raises:
        ExtraMissingError: OpenVINO is not installed.
    """
    model = to_openvino(
        trace(computation.network, computation.example, convolution_dims(computation.multiple))
    )
    # With int8, layers that are not quantized compute in the hinted precision.
    hint = _HINTS.get(computation.precision, "bf16" if native_bf16("cpu") else "f32")
    if computation.precision == "int8":
        from comdefend.engines.quantization import quantize

        assert computation.calibration is not None
        quantize(model, computation.layers, computation.calibration)
    settings = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": computation.threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino_core().compile_model(model, "CPU", settings)

    def compute(values: Tensor) -> Tensor:
        return torch.from_numpy(compiled(values.contiguous().numpy())[0])

    return compute
