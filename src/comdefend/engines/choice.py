"""Which engine computes, in which precision, and why; without torch."""

import importlib.util
from collections.abc import Mapping

import msgspec

from comdefend.common.processor import filter_bits, native_bf16, processor_class
from comdefend.engines.backends import ENGINES
from comdefend.errors import InputError

_FASTEST_FIRST: Mapping[str, tuple[str, ...]] = {
    "amx": ("int8", "bfloat16", "float32"),
    "avx512": ("int8", "bfloat16", "float32"),
    "avx2": ("int8", "float32"),
    "arm": ("int8", "bfloat16", "float32"),
    "other": ("float32",),
    "cuda": ("bfloat16", "float32"),
    "mps": ("float32",),
}
"""Class of the processor, or kind of another device -> precisions, the fastest first.

The benchmark's records say so for AVX2 and AVX-512; that of ARM is not measured."""


class Choice(msgspec.Struct, frozen=True):
    """An engine and a precision.

    Attributes:
        name: One of `ENGINES`.
        precision: ``float32``, ``bfloat16`` or ``int8``.
        why: Why ``auto`` takes it, in a phrase; empty where it was asked for.
    """

    name: str
    precision: str
    why: str = ""


def choose(name: str, precision: str, device: str, calibrated: bool) -> Choice:
    """Choose what ``auto`` leaves open, and check what it does not.

    Args:
        name: ``auto``, or one of `ENGINES`.
        precision: ``auto``, ``float32``, ``bfloat16`` or ``int8``.
        device: Such as ``cpu`` or ``cuda:0``.
        calibrated: Whether there is a calibration for the weights.

    Raises:
        InputError: An unknown engine or precision, or one that the engine, the processor or the GPU
            does not have, or no calibration.
    """
    kind = device.partition(":")[0]
    name = fastest_engine(kind) if name == "auto" else name
    if name not in ENGINES:
        raise InputError(f"unknown engine '{name}'; known: auto, {', '.join(ENGINES)}")
    if kind not in ENGINES[name].devices:
        raise InputError(f"engine '{name}' computes on {ENGINES[name].devices[0]}, not on {kind}")
    known = ENGINES[name].precisions
    if precision != "auto" and precision not in known:
        raise InputError(f"precision of {name}: auto, {' or '.join(known)}, not '{precision}'")
    lacking = _lacking(device, calibrated)
    if precision == "auto":
        return _fastest(name, kind, lacking)
    if reason := lacking.get(precision):
        raise InputError(f"precision '{precision}': {reason}")
    return Choice(name, precision)


def _lacking(device: str, calibrated: bool) -> dict[str, str]:
    """Return what cannot be computed in here -> why, and what to do."""
    kind = device.partition(":")[0]
    hardware = "processor" if kind == "cpu" else "GPU"
    lacking: dict[str, str] = {}
    if not native_bf16(device):
        lacking["bfloat16"] = f"this {hardware} lacks it; take float32"
    if kind != "cpu" or filter_bits() is None:
        lacking["int8"] = f"this {hardware} lacks it; take float32"
    elif not calibrated:
        lacking["int8"] = (
            "no calibration ships for these weights; make one with comdefend.engines.calibrate, or "
            "take bfloat16 or float32"
        )
    return lacking


def _fastest(name: str, kind: str, lacking: Mapping[str, str]) -> Choice:
    """Return the first precision of the table that the engine, the weights and the device have."""
    place = processor_class() if kind == "cpu" else kind
    known = ENGINES[name].precisions
    order = [precision for precision in _FASTEST_FIRST[place] if precision in known]
    taken = next(precision for precision in order if precision not in lacking)
    passed = [f"{one}: {lacking[one].partition(';')[0]}" for one in order[: order.index(taken)]]
    why = f"fastest first, {name} on {place} computes in {', '.join(order)}"
    return Choice(name, taken, "; ".join([why, *passed]))


def fastest_engine(device: str) -> str:
    """Return the fastest engine that is installed, for a kind of device."""
    # On two cores with AVX-512, one image of 224x224 takes OpenVINO 369 ms in float32 and 184 in
    # bfloat16, ONNX Runtime 485 and torch 597 in float32, torch 250 in bfloat16.
    installed = device == "cpu" and importlib.util.find_spec("openvino") is not None
    return "openvino" if installed else "torch"
