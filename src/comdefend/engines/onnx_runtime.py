"""The engine ``onnxruntime``."""

import torch
from torch import Tensor

from comdefend.common.extras import require
from comdefend.engines.engine import Computation, Network
from comdefend.engines.graphs import convolution_dims, to_onnx, trace

_ONLY_ERRORS = 3


def open_graph(computation: Computation) -> Network:
    """Open a network in ONNX Runtime.

    Raises:
        ExtraMissingError: ONNX Runtime is not installed.
    """
    runtime = require("onnxruntime", "runtime")
    program = trace(
        computation.network, computation.example, convolution_dims(computation.multiple)
    )
    model = to_onnx(program, ["input"], ["output"])
    options = runtime.SessionOptions()
    options.intra_op_num_threads = computation.threads
    options.log_severity_level = _ONLY_ERRORS
    # Azure's provider calls a server and computes nothing here.
    providers = [p for p in runtime.get_available_providers() if not p.startswith("Azure")]
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=providers)

    def compute(values: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"input": values.contiguous().numpy()})[0])

    return compute
