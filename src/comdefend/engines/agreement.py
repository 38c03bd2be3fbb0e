"""Whether an engine computes what the purifier computes."""

import msgspec
import torch
from torch import Tensor

from comdefend.engines.engine import Engine
from comdefend.errors import EngineError
from comdefend.nn.metrics import pooled_psnr
from comdefend.nn.purifier import ComDefend

MAX_FLIPPED = {"float32": 1e-4, "bfloat16": 1e-2, "int8": 2e-2}
"""Share of the code's bits that may differ; in float32 rounding flips bits with logits near 0."""

MIN_PSNR = {"float32": 60.0, "bfloat16": 40.0, "int8": 37.0}
"""Least PSNR in dB between the two outputs. Purifiers rebuild images at about 30 dB, so engines
differ from each other far less than from the images."""


class Agreement(msgspec.Struct, frozen=True):
    """How far an engine agrees with its purifier in float32 torch.

    Attributes:
        psnr: Between the purified images, in dB; infinite if they are equal.
        flipped: Share of the code's bits that differ, 0 to 1.
    """

    psnr: float
    flipped: float


@torch.inference_mode()
def measure_agreement(engine: Engine, purifier: ComDefend, images: Tensor) -> Agreement:
    """Return how far an engine agrees with the purifier for which it was opened.

    Args:
        engine: The engine.
        purifier: In evaluation mode, in float32.
        images: (N, C, H, W) float32 in [0, 1]: a few real ones.
    """
    purified, expected = engine(images).cpu(), purifier(images).cpu()
    bits, expected_bits = engine.encode(images).cpu(), purifier.encode(images).cpu()
    flipped = (bits != expected_bits).float().mean().item()
    return Agreement(pooled_psnr(purified, expected), flipped)


def check_engine(engine: Engine, purifier: ComDefend, images: Tensor) -> Agreement:
    """Compare an engine with the purifier for which it was opened.

    Args:
        engine: The engine.
        purifier: In evaluation mode, in float32.
        images: (N, C, H, W) float32 in [0, 1]: a few real ones.

    Raises:
        EngineError: Bits of the code, or the images, differ by more than the precision explains.
    """
    agreement = measure_agreement(engine, purifier, images)
    title = f"engine '{engine.name}' in {engine.precision}"
    most, least = MAX_FLIPPED[engine.precision], MIN_PSNR[engine.precision]
    if not agreement.flipped <= most:
        raise EngineError(
            f"{title}: {agreement.flipped:.2%} of the code's bits differ from torch's, more than "
            f"{most:.2%}; take another engine or precision"
        )
    if not agreement.psnr >= least:
        raise EngineError(
            f"{title}: images are {agreement.psnr:.1f} dB from torch's, below {least:.0f} dB; take "
            "another engine or precision"
        )
    return agreement
