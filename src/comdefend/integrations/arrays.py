"""NumPy arrays of bytes in, the same out."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from comdefend.common.defaults import RECOMMENDED
from comdefend.defenses import load_defense
from comdefend.errors import InputError, InputTypeError
from comdefend.nn.batches import batches, images_at_once
from comdefend.nn.device import device_of


def purify_array(
    images: npt.NDArray[np.uint8], purifier: str | nn.Module = RECOMMENDED
) -> npt.NDArray[np.uint8]:
    """Purify images as scikit-learn, OpenCV and most loaders hold them.

    Args:
        images: (N, H, W, C) uint8, C 1 (grey) or 3 (RGB; OpenCV reads BGR).
        purifier: A name as `load_defense` takes it, or an ``nn.Module``, images to images.

    Returns:
        (N, H, W, C) uint8, a new array.

    Raises:
        InputError: Another shape, channels that the purifier does not take, an unknown name, or a
            purifier in training mode.
        InputTypeError: The images are no array of bytes, or the purifier is neither.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        kind = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise InputTypeError(f"images: must be a NumPy array of uint8, not {kind}")
    if images.ndim != 4:
        hint = "; for one image write image[None]" if images.ndim == 3 else ""
        raise InputError(f"images: must have shape (N, H, W, C), not {images.shape}{hint}")
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    purified = purify_pixels(pixels, opened(purifier))
    return np.ascontiguousarray(purified.numpy().transpose(0, 2, 3, 1))


def opened(purifier: str | nn.Module) -> nn.Module:
    """Return a purifier that is ready for use: in evaluation mode.

    Raises:
        InputError, InputTypeError: As for `purify_array`.
    """
    if isinstance(purifier, str):
        return load_defense(purifier)
    if not isinstance(purifier, nn.Module):
        kind = type(purifier).__name__
        raise InputTypeError(f"purifier must be an nn.Module or a name, not {kind}")
    if any(part.training for part in purifier.modules()):
        raise InputError("the purifier is in training mode; call its eval() first")
    return purifier


@torch.no_grad()
def purify_pixels(pixels: Tensor, purifier: nn.Module) -> Tensor:
    """Purify (N, C, H, W) uint8, a batch at a time: returns the same, where the pixels are."""
    purified = torch.empty_like(pixels)
    if not len(pixels):
        return purified
    device = device_of(purifier)
    for part in batches(len(pixels), images_at_once(purifier, pixels)):
        images = purifier(pixels[part].to(device).float() / 255)
        purified[part] = (images * 255).round().clamp(0, 255).to(torch.uint8)
    return purified
