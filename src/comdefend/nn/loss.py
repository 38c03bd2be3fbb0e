"""The losses that purifiers are trained with."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class PurifierLoss(NamedTuple):
    """The loss and its parts, scalars.

    Attributes:
        total: ``reconstruction + code``, which training minimises.
        reconstruction: L2, 1/(2N) sum ||Rec(c) - x||^2.
        code: L1, lambda/N sum ||c||^2; or the distance of the code from that of a teacher.
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
    images** of the batch. The paper writes the 1/N for L2 only; an L1 summed over the batch would
    put more pressure on the code in larger batches, so L1 is averaged too. With sums inside an
    image the paper's lambda keeps its meaning: both parts grow with the number of pixels, so their
    balance does not depend on the size of the images.

    Args:
        images: x, clean, (N, C, H, W) in [0, 1].
        purified: Rec(c), the same shape and range.
        code: c, (N, K, h, w) in [0, 1].
        code_weight: lambda. A positive value makes the code use more zeros.
        balanced: Weight each image by the inverse of its error, so that the gradient is that of the
            mean PSNR. Otherwise, where images of a batch are coded at different rates, those of
            the lowest rate would dominate. The value of the loss stays the same.

    Returns:
        The loss and its parts by name.
    """
    count = images.shape[0]
    errors = (purified - images).square().flatten(1).sum(1) / 2
    if balanced:
        sizes = errors.detach().clamp(min=1e-12)
        # The value of the loss stays the same, and so does its balance with the part of the code.
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
    """Compute the loss of a purifier that learns the code of a teacher.

    The reconstruction is L2 as in `purifier_loss`, averaged over the images rebuilt from the
    network's own code and from the teacher's, so that the decoder works with both encoders. The
    part of the code is the cross-entropy of the teacher's bits under sigmoid(z / phi), averaged
    over bits. A bit that the teacher decides by less than phi has a proportionally smaller weight,
    since the noise of its training decided it as well.

    Args:
        images: x, clean, (N, C, H, W) in [0, 1].
        purified: Images rebuilt from the network's own code and from the teacher's, of the same
            shape.
        logits: z of the network, (N, K, h, w).
        taught: z of the teacher, of the same shape.
        phi: Scale of the logits; at least 1 is used.
        teaching: Weight of the part of the code.

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
