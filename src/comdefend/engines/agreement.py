"""Whether an engine computes what the purifier computes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from comdefend.engines.engine import Engine
from comdefend.errors import EngineError
from comdefend.nn.metrics import pooled_psnr
from comdefend.nn.purifier import ComDefend

MAX_FLIPPED = {"float32": 1e-4, "bfloat16": 1e-2, "int8": 2e-2}
"""Share of the code's bits that may differ: in float32 those whose logit is 0 but for rounding."""

MIN_PSNR = {"float32": 60.0, "bfloat16": 40.0, "int8": 37.0}
"""In dB between the two outputs. A purifier rebuilds images at 30 dB; both bounds lie far above."""


@dataclass(frozen=True)
class Agreement:
    """How far an engine agrees with its purifier in float32 torch.

    Attributes:
        psnr: Between the purified images, in dB; infinite where they are equal.
        flipped: Share of the code's bits that differ, 0 to 1.
    """

    psnr: float
    flipped: float


@torch.inference_mode()
def measure_agreement(engine: Engine, purifier: ComDefend, images: Tensor) -> Agreement:
    """Return how far an engine agrees with the purifier that it was opened for.

    Args:
        engine: To be measured.
        purifier: In evaluation mode, in float32.
        images: (N, C, H, W) float32 in [0, 1]: real ones, a few.
    """
    found, wanted = engine(images).cpu(), purifier(images).cpu()
    bits, reference = engine.encode(images).cpu(), purifier.encode(images).cpu()
    return Agreement(pooled_psnr(found, wanted), (bits != reference).float().mean().item())


def check_engine(engine: Engine, purifier: ComDefend, images: Tensor) -> Agreement:
    """Compare an engine with the purifier that it was opened for.

    Args:
        engine: To be checked.
        purifier: In evaluation mode, in float32.
        images: (N, C, H, W) float32 in [0, 1]: real ones, a few.

    Raises:
        EngineError: More of the code's bits differ, or the images differ more, than the precision
            accounts for.
    """
    found = measure_agreement(engine, purifier, images)
    psnr, flipped = found.psnr, found.flipped
    title = f"engine '{engine.name}' in {engine.precision}"
    if not flipped <= MAX_FLIPPED[engine.precision]:
        raise EngineError(
            f"{title}: {flipped:.2%} of the code's bits differ from torch's, more than "
            f"{MAX_FLIPPED[engine.precision]:.2%}; take another engine or precision"
        )
    if not psnr >= MIN_PSNR[engine.precision]:
        raise EngineError(
            f"{title}: images are {psnr:.1f} dB from torch's, below "
            f"{MIN_PSNR[engine.precision]:.0f} dB; take another engine or precision"
        )
    return found
