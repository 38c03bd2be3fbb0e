"""What purifiers are trained to minimise."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class PurifierLoss(NamedTuple):
    """The loss and its parts, scalars.

    Attributes:
        total: What training minimises, ``reconstruction + code``.
        reconstruction: L2, 1/(2N) sum ||Rec(c) - x||^2.
        code: L1, lambda/N sum ||c||^2; or how far the code is from a teacher's.
    """

    total: Tensor
    reconstruction: Tensor
    code: Tensor


def purifier_loss(
    images: Tensor,
    purified: Tensor,
    code: Tensor,
    code_weight: float = 1e-4,
    balanced: bool = False,
) -> PurifierLoss:
    """Compute L1 + L2 of Jia et al. 2019 (Equations 2 to 4).

    Both squared norms are **summed over the elements of an image** and **averaged over the N
    images** of the batch. The paper writes the 1/N for L2 only; with L1 summed over the batch the
    pressure on the code would grow with the batch size, so L1 is averaged likewise. Summing inside
    an image (not averaging) keeps the paper's lambda meaningful: both parts then count one image's
    error and one image's bits, and their balance does not depend on the image's size, since each
    grows with the number of pixels.

    Args:
        images: x, clean, (N, C, H, W) in [0, 1].
        purified: Rec(c), the same shape and range.
        code: c, (N, K, h, w) in [0, 1].
        code_weight: lambda. A positive value makes the code use more zeros.
        balanced: Weigh each image by the inverse of its own error, so that its PSNR counts and not
            its error: where images of a batch are coded at different rates, those of the lowest
            would else be most of the loss. The loss keeps its value, its gradient is another.

    Returns:
        The loss and its parts by name.
    """
    count = images.shape[0]
    errors = (purified - images).square().flatten(1).sum(1) / 2
    if balanced:
        sizes = errors.detach().clamp(min=1e-12)
        # The loss keeps its value, and with it its balance with the code's part.
        errors = errors * (sizes.mean() / sizes)
    reconstruction = errors.mean()
    sparsity = code_weight * code.square().sum() / count
    return PurifierLoss(reconstruction + sparsity, reconstruction, sparsity)


def taught_loss(
    images: Tensor,
    purified: tuple[Tensor, Tensor],
    logits: Tensor,
    taught: Tensor,
    phi: float,
    teaching: float = 30.0,
) -> PurifierLoss:
    """Compute what a purifier minimises that learns another's code.

    The reconstruction is L2 as in `purifier_loss`, averaged over what is rebuilt from the network's
    own code and from the teacher's: the decoder then serves both encoders. The code's part is the
    cross-entropy of the teacher's bits under sigmoid(z / phi), averaged over bits. Bits of which
    the teacher itself is less sure than the noise is wide count as much less: how they fall is
    chance.

    Args:
        images: x, clean, (N, C, H, W) in [0, 1].
        purified: What is rebuilt from the own code and from the teacher's, of the same shape.
        logits: z of the network, (N, K, h, w).
        taught: z of the teacher, of the same shape.
        phi: Scale of the logits, 1 at least.
        teaching: Weight of the code's part.

    Returns:
        The loss and its parts by name.
    """
    count = images.shape[0]
    errors = [(rebuilt - images).square().sum() / (2 * count) for rebuilt in purified]
    reconstruction = (errors[0] + errors[1]) / 2
    scale = max(phi, 1.0)
    sureness = (taught.abs() / scale).clamp(max=1)
    wanted = (taught > 0).to(logits.dtype)
    code = teaching * F.binary_cross_entropy_with_logits(logits / scale, wanted, sureness)
    return PurifierLoss(reconstruction + code, reconstruction, code)
