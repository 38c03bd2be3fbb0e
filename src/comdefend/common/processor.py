"""What the processor, or the GPU, can do."""

import functools
import platform
import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from comdefend.common import provenance

if TYPE_CHECKING:
    import torch

_FLAGS = frozenset(
    {
        "avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16",
        "bf16", "dotprod",
    }
)  # fmt: skip
WHOLE_FILTERS = 8
"""Bits of a filter where nothing has to be spared: see `filter_bits`."""

# NVIDIA, its Jetson boards, the same below Windows, and AMD.
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
# Linux -> torch, where they differ.
_LINUX_FLAGS = {"avx512f": "avx512_f", "asimddp": "dotprod"}


def native_bf16(device: "torch.device | str | None" = None) -> bool:
    """Whether a device computes in bfloat16 natively, without emulation.

    Args:
        device: By default the GPU, or the processor where there is none.
    """
    if device is None or not str(device).startswith("cpu"):
        import torch

        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if torch.device(device).type == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(processor_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def filter_bits() -> int | None:
    """Return how many bits a filter may have where inputs have 8, sign included.

    With VNNI, AMX or NEON's dot products, sums of 8-bit products have 32 bits: 8. With AVX2, and
    with AVX-512 alone, vpmaddubsw adds two of them in 16 bits, which overflow unless filters have
    7. None: the processor has no instruction for either.
    """
    flags = processor_flags()
    if flags & {"avx512_vnni", "avx_vnni", "amx_int8", "dotprod"}:
        return WHOLE_FILTERS
    return 7 if "avx2" in flags else None


@functools.cache
def processor_flags() -> frozenset[str]:
    """Return the instruction sets of the processor, of those that decide how networks compute.

    They are named as in ``torch.cpu.get_capabilities()``, which is asked only where Linux does not
    tell: importing torch takes seconds.
    """
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        text = cpuinfo.read_text(encoding="utf-8")
        if told := re.search(r"^(flags|Features)\s*:\s*(.*)$", text, re.MULTILINE):
            return frozenset(_LINUX_FLAGS.get(flag, flag) for flag in told[2].split()) & _FLAGS
    import torch

    return frozenset(name for name, has in torch.cpu.get_capabilities().items() if has) & _FLAGS


def processor_class() -> str:
    """Return the class of the processor, by what its vector units compute with.

    ``amx``, ``avx512`` (with VNNI or without), ``avx2``, ``arm``, or ``other``.
    """
    return class_of(processor_flags(), platform.machine())


def class_of(flags: Collection[str], architecture: str) -> str:
    """Return the class of a processor with these flags, as `processor_class` names it."""
    for name, needed in (("amx", "amx_int8"), ("avx512", "avx512_f"), ("avx2", "avx2")):
        if needed in flags:
            return name
    return "arm" if architecture.lower() in ("aarch64", "arm64") else "other"


def may_have_gpu() -> bool:
    """Whether torch may find a GPU here: False only where there is no driver of one.

    torch knows for certain, but takes seconds to import.
    """
    if sys.platform == "linux":
        return any(Path(device).exists() for device in _GPU_DRIVERS)
    return sys.platform != "darwin"


def processor_name(device: "torch.device | str") -> str | None:
    """Return what the maker calls the GPU or the processor; None where nothing tells."""
    import torch

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
    import torch

    capabilities = torch.cpu.get_capabilities()
    return {
        "commit": provenance.commit(),
        "versions": provenance.versions(*packages),
        "device": "cpu",
        "architecture": capabilities["architecture"],
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "flags": tuple(sorted(name for name, has in capabilities.items() if has is True)),
    }
