"""The engine ``onnxruntime``."""

from comdefend.common.extras import require
from comdefend.engines.arrays import Run

_ONLY_ERRORS = 3


def open_graph(graph: bytes, precision: str, threads: int | None) -> Run:
    """Open an ONNX file in ONNX Runtime; several threads may call the result.

    Args:
        graph: With one input, ``input``, and one output.
        precision: ``float32``.
        threads: How many compute; None: one a core.

    Raises:
        ExtraMissingError: ONNX Runtime is not installed.
    """
    runtime = require("onnxruntime", "runtime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = _ONLY_ERRORS
    # Azure's provider calls a server and computes nothing here.
    providers = [p for p in runtime.get_available_providers() if not p.startswith("Azure")]
    session = runtime.InferenceSession(graph, options, providers=providers)
    return lambda values: session.run(None, {"input": values})[0]
