"""The distance between images, in decibels."""

import math

import torch
from torch import Tensor


def round_to_8_bits(images: Tensor) -> Tensor:
    """Round images in [0, 1] to the values that 8-bit files hold."""
    return (images * 255).round() / 255


def peak_signal_noise_ratio(images: Tensor, reference: Tensor) -> Tensor:
    """Return the mean PSNR in dB over the images, for (N, C, H, W) in [0, 1].

    An image without any error counts as if one of its values were off by half an 8-bit step, so
    that the mean stays finite.
    """
    floor = (0.5 / 255) ** 2 / reference[0].numel()
    error = (images - reference).square().flatten(1).mean(1).clamp(min=floor)
    return (-10 * torch.log10(error)).mean()


def pooled_psnr(images: Tensor, reference: Tensor) -> float:
    """Return the PSNR in dB of the mean squared error over all images; infinite if they are equal.

    Args:
        images: Any shape, in [0, 1].
        reference: Of the same shape.
    """
    return decibels((images - reference).square().mean().item())


def decibels(squared_error: float) -> float:
    """Return the PSNR in dB of a mean squared error of values in [0, 1]; infinite for 0."""
    return -10 * math.log10(squared_error) if squared_error else math.inf
