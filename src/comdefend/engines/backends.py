"""The engines there are: one entry each, and the module with the function that opens it."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec


class Backend(msgspec.Struct, frozen=True):
    """What computes behind an engine.

    Attributes:
        about: What it is, in a phrase.
        opener: ``module:function``; the function turns a ``Computation`` into a ``Network``, or, of
            an engine that takes graphs, an ONNX file, a precision and a number of threads or None
            into a ``Run``.
        precisions: What it computes in.
        devices: Where it computes.
        graphs: Whether it takes graphs, and so needs no torch.
    """

    about: str
    opener: str
    precisions: tuple[str, ...] = ("float32",)
    devices: tuple[str, ...] = ("cpu",)
    graphs: bool = False


ENGINES: Mapping[str, Backend] = MappingProxyType(
    {
        "torch": Backend(
            "PyTorch as it is; opens at once",
            "comdefend.engines.pytorch:open_eager",
            ("float32", "bfloat16"),
            ("cpu", "cuda"),
        ),
        "torch-compiled": Backend(
            "PyTorch, compiled to machine code when it is first used",
            "comdefend.engines.pytorch:open_compiled",
            ("float32", "bfloat16"),
            ("cpu", "cuda"),
        ),
        "onnxruntime": Backend(
            "ONNX Runtime", "comdefend.engines.onnx_runtime:open_graph", graphs=True
        ),
        "openvino": Backend(
            "OpenVINO; usually the fastest on a processor",
            "comdefend.engines.open_vino:open_graph",
            ("float32", "bfloat16", "int8"),
            graphs=True,
        ),
    }
)
"""Name -> backend, for `open_engine`."""
