"""Gradients for what has no useful one of its own."""

from torch import Tensor


def straight_through(images: Tensor, transformed: Tensor) -> Tensor:
    """Return ``transformed`` with the gradient of ``images``: backwards the identity.

    The backward pass differentiable approximation of Athalye et al. 2018, Section 4.1, for
    transformations that stay close to their input and have no useful gradient of their own.

    Args:
        images: What was transformed.
        transformed: The result, of the same shape, computed without a graph.
    """
    if not images.requires_grad:
        return transformed
    # images - images is 0 exactly, so the values remain those of ``transformed``.
    return transformed + (images - images.detach())
