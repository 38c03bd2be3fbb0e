"""Opening an engine: which one, in which precision, for which parts of a purifier."""

import copy
import importlib
import importlib.util

import torch
from torch import Tensor, nn

from comdefend.common.processor import native_bf16, native_int8
from comdefend.engines.backends import ENGINES
from comdefend.engines.calibration import (
    Calibration,
    check_calibration,
    layer_names,
    shipped_calibration,
)
from comdefend.engines.engine import Computation, Engine, Network
from comdefend.errors import InputError
from comdefend.nn.device import device_of
from comdefend.nn.purifier import ComDefend


def open_engine(
    purifier: ComDefend,
    name: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    calibration: Calibration | None = None,
) -> Engine:
    """Open an engine for a purifier.

    ``auto`` takes the fastest engine and precision available: OpenVINO on a processor where it is
    installed, else torch; 8-bit integers where there is a calibration, else bfloat16, each only
    where the hardware computes in it, else float32.

    Args:
        purifier: In evaluation mode; the engine computes on its device.
        name: ``auto``, or one of `ENGINES`.
        precision: ``auto``, ``float32``, ``bfloat16`` or ``int8``.
        threads: On a processor; by default as many as torch uses.
        calibration: For ``int8``: from `comdefend.engines.calibrate` or `load_calibration`; by
            default the one that ships for the weights.

    Raises:
        InputError: An unknown engine or precision, one that the engine, the processor or the GPU
            does not have, no calibration, no thread, or a purifier that is in training mode or
            draws at random.
        WeightsError: The calibration does not fit the weights.
        ExtraMissingError: The engine is not installed.
    """
    _check_purifier(purifier)
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, not {threads}")
    device = device_of(purifier)
    name = _fastest(device) if name == "auto" else name
    if name not in ENGINES:
        raise InputError(f"unknown engine '{name}'; known: auto, {', '.join(ENGINES)}")
    if device.type not in ENGINES[name].devices:
        raise InputError(
            f"engine '{name}' computes on {ENGINES[name].devices[0]}, not on {device.type}"
        )
    if calibration is not None:
        check_calibration(purifier, calibration, "calibration")
    elif "int8" in ENGINES[name].precisions and precision in ("auto", "int8"):
        calibration = shipped_calibration(purifier)
    precision = _precision(name, precision, device, calibration is not None)
    # A copy, since the purifier may move to another device later.
    own = copy.deepcopy(purifier).requires_grad_(False)
    count = torch.get_num_threads() if threads is None else threads

    def open_part(part: str) -> Network:
        return _open(name, _computation(own, part, precision, count, calibration))

    return Engine(name, precision, own, open_part)


def open_network(
    network: nn.Module, example: Tensor, name: str, precision: str, threads: int
) -> Network:
    """Open an engine for any network of one tensor to one, for example a classifier.

    Args:
        network: In evaluation mode, on the processor.
        example: An input; all inputs must have its shape.
        name: One of `ENGINES`.
        precision: ``float32`` or ``bfloat16``.
        threads: How many threads compute.

    Raises:
        InputError: A precision that the engine or the processor does not have.
        ExtraMissingError: The engine is not installed.
    """
    computation = Computation(
        network=copy.deepcopy(network).requires_grad_(False),
        example=example,
        multiple=None,
        precision=_precision(name, precision, example.device, False),
        threads=threads,
    )
    return _open(name, computation)


def _open(name: str, computation: Computation) -> Network:
    module, _, function = ENGINES[name].opener.partition(":")
    return getattr(importlib.import_module(module), function)(computation)


def _computation(
    purifier: ComDefend,
    part: str,
    precision: str,
    threads: int,
    calibration: Calibration | None,
) -> Computation:
    """Return how to compute a part of a purifier."""
    config = purifier.config
    network, channels, multiple = {
        # One graph: the code inside is neither copied nor turned into float32.
        "purifier": (
            nn.Sequential(purifier.encoder, purifier.binarizer, purifier.decoder),
            config.channels,
            config.multiple,
        ),
        "encoder": (purifier.encoder, config.channels, config.multiple),
        "decoder": (purifier.decoder, config.code_maps, config.reduction),
    }[part]
    return Computation(
        network=network.eval(),
        example=torch.rand(2, channels, 8 * multiple, 8 * multiple, device=purifier.device),
        multiple=multiple,
        precision=precision,
        threads=threads,
        layers=layer_names(config, part),
        calibration=calibration,
    )


def _check_purifier(purifier: ComDefend) -> None:
    if purifier.training:
        raise InputError("the purifier is in training mode; call its eval() first")
    for part in purifier.modules():
        if getattr(part, "random", False) is True:
            raise InputError(f"{type(part).__name__} draws at random, which no engine does")


def _fastest(device: torch.device) -> str:
    # On two cores with AVX-512, one image of 224x224 takes OpenVINO 369 ms in float32 and 184 in
    # bfloat16, ONNX Runtime 485 and torch 597 in float32, torch 250 in bfloat16.
    installed = importlib.util.find_spec("openvino") is not None
    return "openvino" if device.type == "cpu" and installed else "torch"


def _precision(name: str, precision: str, device: torch.device, calibrated: bool) -> str:
    known = ENGINES[name].precisions
    if precision == "auto":
        if "int8" in known and calibrated and native_int8():
            return "int8"
        return "bfloat16" if "bfloat16" in known and native_bf16(device) else "float32"
    if precision not in known:
        raise InputError(f"precision of {name}: auto, {' or '.join(known)}, not '{precision}'")
    if precision == "bfloat16" and not native_bf16(device):
        hardware = "processor" if device.type == "cpu" else "GPU"
        raise InputError(f"precision 'bfloat16': this {hardware} lacks it; take float32")
    if precision == "int8" and not native_int8():
        raise InputError("precision 'int8': this processor lacks it; take float32")
    if precision == "int8" and not calibrated:
        raise InputError(
            "precision 'int8': no calibration ships for these weights; make one with "
            "comdefend.engines.calibrate, or take bfloat16 or float32"
        )
    return precision
