"""What the processor, or the GPU, can do."""

from typing import Any

import torch


def native_bf16(device: torch.device | str | None = None) -> bool:
    """Whether a device computes in bfloat16 and not by emulation.

    Args:
        device: By default the GPU, or without one the processor.
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


def description() -> dict[str, Any]:
    """Return what figures of speed depend on: architecture, vectors and flags of the processor."""
    capabilities = torch.cpu.get_capabilities()
    return {
        "device": "cpu",
        "architecture": capabilities["architecture"],
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "flags": sorted(name for name, has in capabilities.items() if has is True),
    }
