"""Gradients for functions that have no useful one of their own."""

import torch
from torch import Tensor
from torch.autograd import forward_ad


def straight_through(images: Tensor, transformed: Tensor) -> Tensor:
    """Return ``transformed`` with the gradient of ``images``: backwards the identity.

    The backward pass differentiable approximation (BPDA) of Athalye et al. 2018, Section 4.1, for
    transformations that stay close to their input and have no useful gradient. It also holds for
    forward-mode derivatives, and under the transformations of ``torch.func``.

    Args:
        images: The input of the transformation.
        transformed: Its result, of the same shape, computed without a graph.
    """
    if not is_differentiated(images):
        return transformed
    # images - images is exactly 0, so the values remain those of ``transformed``.
    return transformed + (images - images.detach())


def is_differentiated(tensor: Tensor) -> bool:
    """Return whether a derivative with respect to the tensor is being computed, in any mode."""
    if tensor.requires_grad or torch.compiler.is_compiling():
        return tensor.requires_grad
    return forward_ad.unpack_dual(tensor).tangent is not None
