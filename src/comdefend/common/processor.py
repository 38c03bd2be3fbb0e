"""What the processor, or the GPU, can do."""

import platform
import re
from pathlib import Path
from typing import Any

import msgspec
import torch

from comdefend.common import provenance


def native_bf16(device: torch.device | str | None = None) -> bool:
    """Whether a device computes in bfloat16 natively, without emulation.

    Args:
        device: By default the GPU, or the processor where there is none.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = torch.cpu.get_capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("bf16"))


def native_int8() -> bool:
    """Whether the processor sums products of 8-bit integers in 32 bits, without overflow."""
    flags = torch.cpu.get_capabilities()
    return any(flags.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8", "dotprod"))


def processor_name(device: torch.device | str) -> str | None:
    """Return what the maker calls the GPU or the processor; None where nothing tells."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    named = re.search(r"^model name\s*:\s*(\S.*)$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What figures of speed depend on; records of them begin with it.

    Attributes:
        commit: Of the source tree; None where it was installed without one.
        versions: Package -> version.
        device: ``cpu``.
        architecture: Such as ``x86_64``.
        vectors: Instruction set that torch computes with, such as ``AVX512``.
        flags: Capabilities of the processor, as torch names them.
    """

    commit: str | None
    versions: dict[str, str]
    device: str
    architecture: str
    vectors: str
    flags: tuple[str, ...]


class Timed(Machine, frozen=True, kw_only=True):
    """The same, with the number of threads that computed."""

    threads: int


def this_machine(*packages: str) -> dict[str, Any]:
    """Return the fields of `Machine` for the machine and the source tree that run.

    Args:
        packages: Further packages that figures depend on, for `provenance.versions`.
    """
    capabilities = torch.cpu.get_capabilities()
    return {
        "commit": provenance.commit(),
        "versions": provenance.versions(*packages),
        "device": "cpu",
        "architecture": capabilities["architecture"],
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "flags": tuple(sorted(name for name, has in capabilities.items() if has is True)),
    }
