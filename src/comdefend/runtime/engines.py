"""The engines, and which of them to take."""

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from comdefend.errors import InputError
from comdefend.extras import require
from comdefend.inference import device_of
from comdefend.nn.purifier import ComDefend
from comdefend.processor import native_bf16
from comdefend.runtime.engine import Engine, Network
from comdefend.runtime.graphs import (
    convolution_dims,
    require_openvino,
    to_onnx,
    to_openvino,
    trace,
)


@dataclass(frozen=True)
class _Kind:
    """An engine: what it computes in, where, and how it takes up one network."""

    precisions: tuple[str, ...]
    devices: tuple[str, ...]
    open: Callable[[nn.Module, Tensor, int, str, int], Network]


def open_engine(
    purifier: ComDefend, name: str = "auto", precision: str = "auto", threads: int | None = None
) -> Engine:
    """Open an engine for a purifier.

    ``auto`` takes what is fastest of what is there: OpenVINO on a processor where it is installed,
    else torch; bfloat16 where the hardware computes in it, else float32.

    Args:
        purifier: In evaluation mode; its device is the engine's.
        name: ``auto``, or one of `ENGINES`.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        threads: On a processor; by default as many as torch uses.

    Raises:
        InputError: An unknown engine or precision, one that the engine, the processor or the GPU
            does not have, no thread, or a purifier in training mode or with random draws.
        ExtraMissingError: The engine is not installed.
    """
    if purifier.training:
        raise InputError("the purifier is in training mode; call its eval() first")
    if getattr(purifier, "random", False):
        raise InputError(f"{type(purifier).__name__} draws at random, which no engine does")
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, not {threads}")
    device = device_of(purifier)
    name = _fastest(device) if name == "auto" else name
    if name not in _KINDS:
        raise InputError(f"unknown engine '{name}'; known: auto, {', '.join(_KINDS)}")
    kind = _KINDS[name]
    if device.type not in kind.devices:
        raise InputError(f"engine '{name}' computes on {kind.devices[0]}, not on {device.type}")
    precision = _precision(name, precision, device)
    # The purifier itself stays as it is, wherever it goes next.
    own = copy.deepcopy(purifier).requires_grad_(False)
    config, d = purifier.config, purifier.config.downscale
    count = torch.get_num_threads() if threads is None else threads
    images = torch.rand(2, config.channels, 8 * d, 8 * d, device=device)
    code = torch.rand(2, config.code_maps, 8, 8, device=device)
    return Engine(
        name,
        precision,
        config,
        device,
        kind.open(own.encoder, images, d, precision, count),
        kind.open(own.decoder, code, 1, precision, count),
    )


def _fastest(device: torch.device) -> str:
    # On two cores with AVX-512, one image of 224x224 takes OpenVINO 369 ms in float32 and 184 in
    # bfloat16, ONNX Runtime 485 and torch 597 in float32, torch 250 in bfloat16.
    there = importlib.util.find_spec("openvino") is not None
    return "openvino" if device.type == "cpu" and there else "torch"


def _precision(name: str, precision: str, device: torch.device) -> str:
    known = _KINDS[name].precisions
    if precision == "auto":
        return "bfloat16" if "bfloat16" in known and native_bf16(device) else "float32"
    if precision not in known:
        raise InputError(f"precision of {name}: auto, {' or '.join(known)}, not '{precision}'")
    if precision == "bfloat16" and not native_bf16(device):
        hardware = "processor" if device.type == "cpu" else "GPU"
        raise InputError(f"precision 'bfloat16': this {hardware} lacks it; take float32")
    return precision


def _open_torch(
    network: nn.Module, example: Tensor, factor: int, precision: str, threads: int
) -> Network:
    device = example.device.type
    network = network.to(memory_format=torch.channels_last)

    def compute(values: Tensor) -> Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                found = network(values.contiguous(memory_format=torch.channels_last))
        finally:
            torch.set_num_threads(before)
        return found.float()

    return compute


def _open_onnxruntime(
    network: nn.Module, example: Tensor, factor: int, precision: str, threads: int
) -> Network:
    runtime = require("onnxruntime", "runtime")
    model = to_onnx(trace(network, example, convolution_dims(factor)), ["input"], ["output"])
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ALONE
    # Azure's provider asks a server, and computes nothing here.
    providers = [p for p in runtime.get_available_providers() if not p.startswith("Azure")]
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=providers)

    def compute(values: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"input": values.contiguous().numpy()})[0])

    return compute


_ERRORS_ALONE = 3


def _open_openvino(
    network: nn.Module, example: Tensor, factor: int, precision: str, threads: int
) -> Network:
    openvino = require_openvino()
    model = to_openvino(trace(network, example, convolution_dims(factor)))
    settings = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)

    def compute(values: Tensor) -> Tensor:
        return torch.from_numpy(compiled(values.contiguous().numpy())[0])

    return compute


_KINDS = {
    "torch": _Kind(("float32", "bfloat16"), ("cpu", "cuda"), _open_torch),
    "onnxruntime": _Kind(("float32",), ("cpu",), _open_onnxruntime),
    "openvino": _Kind(("float32", "bfloat16"), ("cpu",), _open_openvino),
}

ENGINES = tuple(_KINDS)
"""Names of the engines, for `open_engine`."""
