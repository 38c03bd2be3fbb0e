"""The engines, and which of them to take."""

import copy
import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from comdefend.common.extras import require
from comdefend.common.processor import native_bf16, native_int8
from comdefend.engines.engine import Engine, Network
from comdefend.engines.graphs import (
    convolution_dims,
    openvino_core,
    to_onnx,
    to_openvino,
    trace,
)
from comdefend.engines.quantization import (
    Calibration,
    check_calibration,
    layer_names,
    quantize,
    shipped_calibration,
)
from comdefend.errors import InputError
from comdefend.nn.batches import device_of
from comdefend.nn.binarize import threshold
from comdefend.nn.purifier import ComDefend


@dataclass(frozen=True)
class _Job:
    """A network, and how it is to be computed; with its calibration if it is part of a purifier.

    ``layers`` are the names that the calibration has for its convolutions.
    """

    network: nn.Module
    example: Tensor
    dims: dict[int, Any]
    precision: str
    threads: int
    layers: tuple[str, ...] = ()
    calibration: Calibration | None = None


@dataclass(frozen=True)
class _Kind:
    """An engine: what it computes in, where, and how it takes up one network."""

    precisions: tuple[str, ...]
    devices: tuple[str, ...]
    open: Callable[[_Job], Network]


def open_engine(
    purifier: ComDefend,
    name: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    calibration: Calibration | None = None,
) -> Engine:
    """Open an engine for a purifier.

    ``auto`` takes what is fastest of what is there: OpenVINO on a processor where it is installed,
    else torch; 8-bit integers where a calibration is given or ships for the weights, bfloat16 else,
    each where the hardware computes in it, else float32.

    Args:
        purifier: In evaluation mode; its device is the engine's.
        name: ``auto``, or one of `ENGINES`.
        precision: ``auto``, ``float32``, ``bfloat16`` or ``int8``.
        threads: On a processor; by default as many as torch uses.
        calibration: For ``int8``: what `comdefend.engines.calibrate` returned, or
            `load_calibration` read; by default what ships for the weights.

    Raises:
        InputError: An unknown engine or precision, one that the engine, the processor or the GPU
            does not have, no calibration, no thread, or a purifier in training mode or with
            random draws.
        WeightsError: The calibration does not fit the weights.
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
    if calibration is not None:
        check_calibration(purifier, calibration, "calibration")
    elif "int8" in kind.precisions and precision in ("auto", "int8"):
        calibration = shipped_calibration(purifier)
    precision = _precision(name, precision, device, calibration)
    # The purifier itself stays as it is, wherever it goes next.
    own = copy.deepcopy(purifier).requires_grad_(False)
    count = torch.get_num_threads() if threads is None else threads

    def open_part(part: str) -> Network:
        network, example, factor = _part(own, part)
        dims, layers = convolution_dims(factor), layer_names(purifier.config, part)
        return kind.open(_Job(network, example, dims, precision, count, layers, calibration))

    return Engine(name, precision, purifier.config, device, open_part)


class _Whole(nn.Module):
    """A purifier without checks, for images that its multiple divides.

    One graph: a code that stays inside is neither copied nor made a float32.
    """

    def __init__(self, purifier: ComDefend) -> None:
        super().__init__()
        self.encoder, self.decoder = purifier.encoder, purifier.decoder

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(threshold(self.encoder(images)))


def _part(purifier: ComDefend, part: str) -> tuple[nn.Module, Tensor, int]:
    """Return a part of a purifier, what it takes, and what must divide the sizes of that."""
    config, device = purifier.config, purifier.device
    if part == "decoder":
        shape, factor = (2, config.code_maps, 8 * config.reduction), config.reduction
    else:
        shape, factor = (2, config.channels, 8 * config.multiple), config.multiple
    network = _Whole(purifier).eval() if part == "purifier" else getattr(purifier, part)
    return network, torch.rand(*shape, shape[-1], device=device), factor


def open_network(
    network: nn.Module, example: Tensor, name: str, precision: str, threads: int
) -> Network:
    """Open an engine for any network of one tensor to one, a classifier for example.

    Args:
        network: In evaluation mode, on the processor.
        example: What it takes; every input has its shape.
        name: One of `ENGINES`.
        precision: ``float32`` or ``bfloat16``.
        threads: How many compute.

    Raises:
        InputError: A precision that the engine or the processor does not have.
        ExtraMissingError: The engine is not installed.
    """
    precision = _precision(name, precision, example.device, None)
    own = copy.deepcopy(network).requires_grad_(False)
    return _KINDS[name].open(_Job(own, example, {}, precision, threads))


def _fastest(device: torch.device) -> str:
    # On two cores with AVX-512, one image of 224x224 takes OpenVINO 369 ms in float32 and 184 in
    # bfloat16, ONNX Runtime 485 and torch 597 in float32, torch 250 in bfloat16.
    there = importlib.util.find_spec("openvino") is not None
    return "openvino" if device.type == "cpu" and there else "torch"


def _precision(
    name: str, precision: str, device: torch.device, calibration: Calibration | None
) -> str:
    known = _KINDS[name].precisions
    if precision == "auto":
        if "int8" in known and calibration is not None and native_int8():
            return "int8"
        return "bfloat16" if "bfloat16" in known and native_bf16(device) else "float32"
    if precision not in known:
        raise InputError(f"precision of {name}: auto, {' or '.join(known)}, not '{precision}'")
    if precision == "bfloat16" and not native_bf16(device):
        hardware = "processor" if device.type == "cpu" else "GPU"
        raise InputError(f"precision 'bfloat16': this {hardware} lacks it; take float32")
    if precision == "int8" and not native_int8():
        raise InputError("precision 'int8': this processor lacks it; take float32")
    if precision == "int8" and calibration is None:
        raise InputError(
            "precision 'int8': no calibration ships for these weights; make one with "
            "comdefend.engines.calibrate, or take bfloat16 or float32"
        )
    return precision


def _open_torch(job: _Job) -> Network:
    return _by_torch(job, job.network.to(memory_format=torch.channels_last))


def _open_compiled(job: _Job) -> Network:
    network = job.network.to(memory_format=torch.channels_last)
    if job.example.device.type == "cuda":
        # Graphs of the GPU's work, one a shape: launching kernels costs more than small ones take.
        return _by_torch(job, torch.compile(network, mode="reduce-overhead"))
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise InputError("engine 'torch-compiled' needs a C++ compiler, such as g++; take torch")
    return _by_torch(job, torch.compile(network, dynamic=True))


def _by_torch(job: _Job, network: Callable[[Tensor], Tensor]) -> Network:
    device, low = job.example.device.type, job.precision == "bfloat16"

    def compute(values: Tensor) -> Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(job.threads)
        try:
            with torch.autocast(device, torch.bfloat16, enabled=low):
                found = network(values.contiguous(memory_format=torch.channels_last))
        finally:
            torch.set_num_threads(before)
        # A graph's output is overwritten by its next run.
        return found.float() if low else found.clone()

    return compute


def _open_onnxruntime(job: _Job) -> Network:
    runtime = require("onnxruntime", "runtime")
    program = trace(job.network, job.example, job.dims)
    model = to_onnx(program, ["input"], ["output"])
    options = runtime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.log_severity_level = _ERRORS_ALONE
    # Azure's provider asks a server, and computes nothing here.
    providers = [p for p in runtime.get_available_providers() if not p.startswith("Azure")]
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=providers)

    def compute(values: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"input": values.contiguous().numpy()})[0])

    return compute


_ERRORS_ALONE = 3


def _open_openvino(job: _Job) -> Network:
    model = to_openvino(trace(job.network, job.example, job.dims))
    hint = {"float32": "f32", "bfloat16": "bf16"}.get(job.precision)
    if job.precision == "int8":
        assert job.calibration is not None
        quantize(model, job.layers, job.calibration)
        # What layers compute in that stay in floats.
        hint = "bf16" if native_bf16("cpu") else "f32"
    settings = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": job.threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino_core().compile_model(model, "CPU", settings)

    def compute(values: Tensor) -> Tensor:
        return torch.from_numpy(compiled(values.contiguous().numpy())[0])

    return compute


_KINDS = {
    "torch": _Kind(("float32", "bfloat16"), ("cpu", "cuda"), _open_torch),
    "torch-compiled": _Kind(("float32", "bfloat16"), ("cpu", "cuda"), _open_compiled),
    "onnxruntime": _Kind(("float32",), ("cpu",), _open_onnxruntime),
    "openvino": _Kind(("float32", "bfloat16", "int8"), ("cpu",), _open_openvino),
}

ENGINES = tuple(_KINDS)
"""Names of the engines, for `open_engine`."""
