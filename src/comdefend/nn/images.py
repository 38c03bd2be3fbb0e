"""Checks of the images that networks are given, and padding."""

import torch
from torch import Tensor

from comdefend.errors import InputError, InputTypeError

# Resizing and other arithmetic overshoots [0, 1] by rounding errors. Anything beyond this is a
# mistake, such as images in 0..255 or already normalised.
RANGE_TOLERANCE = 1e-3


def check_images(images: Tensor, channels: int, dtype: torch.dtype) -> None:
    """Check that images fit the weights.

    Args:
        images: Expected to be (N, C, H, W) float in [0, 1].
        channels: Expected number of channels C, 3 (RGB) or 1 (grey).
        dtype: Type of the weights.

    Raises:
        InputError: Wrong shape, channel count or range, or NaN.
        InputTypeError: Not a tensor of that type.
    """
    check_dtype("images", images, dtype)
    if images.ndim != 4:
        raise InputError(f"images: must have shape (N, C, H, W), not {tuple(images.shape)}")
    if images.shape[1] != channels:
        taken = "3 (RGB)" if channels == 3 else "1 (grey)"
        raise InputError(f"images: have {images.shape[1]} channels, these weights take {taken}")
    check_range("images", images)


def check_dtype(name: str, tensor: object, dtype: torch.dtype) -> None:
    """Check that an argument is a tensor of the weights' float type.

    Raises:
        InputTypeError: It is not.
    """
    if not isinstance(tensor, Tensor):
        raise InputTypeError(f"{name}: must be a torch tensor, not {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise InputTypeError(
            f"{name}: must be float, not {tensor.dtype}; for 8-bit images divide by 255"
        )
    if tensor.dtype != dtype and not torch.is_autocast_enabled(tensor.device.type):
        raise InputTypeError(f"{name}: must be {dtype} like the weights, not {tensor.dtype}")


def check_range(name: str, tensor: Tensor) -> None:
    """Check that an argument is not empty and lies in [0, 1].

    Where values are not known, in a graph being compiled or under ``torch.func.vmap``, only the
    size is checked.

    Raises:
        InputError: It is empty, or a value lies outside, or is NaN.
    """
    if torch.compiler.is_compiling():
        return
    if tensor.numel() == 0:
        raise InputError(f"{name}: empty, its shape is {tuple(tensor.shape)}")
    bounds = _bounds(tensor.detach())
    if bounds is None:
        return
    low, high = bounds
    if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):
        raise InputError(f"{name}: must lie in [0, 1] without NaN, found {low:.4g} to {high:.4g}")


def _bounds(values: Tensor) -> tuple[float, float] | None:
    """Return the smallest and the largest value, or None where they are not known."""
    if values.device.type == "cpu" and values.dtype == torch.float32:
        # By NumPy, in one thread: torch's idle threads would go on spinning and slow down those of
        # an engine.
        try:
            array = values.numpy()
            return array.min().item(), array.max().item()
        except RuntimeError:
            pass  # a tensor of torch.func, which has no memory of its own
    try:
        low, high = torch.aminmax(values)
        return low.item(), high.item()
    except RuntimeError:
        return None


def pad_to_multiple(images: Tensor, factor: int) -> Tensor:
    """Reflect images at the right and the bottom until ``factor`` divides their size.

    By index and not by ``F.pad``, which needs more pixels than it pads: here even an image of a
    single pixel can be padded.

    Args:
        images: (N, C, H, W), any H and W.
        factor: At least 1.
    """
    height, width = images.shape[-2:]
    # A graph for any size must pad: it is not known yet whether the factor divides the size.
    if factor == 1 or not (torch.compiler.is_compiling() or height % factor or width % factor):
        return images
    rows = _reflected_indices(height, (height + factor - 1) // factor * factor, images.device)
    columns = _reflected_indices(width, (width + factor - 1) // factor * factor, images.device)
    return images.index_select(-2, rows).index_select(-1, columns)


def _reflected_indices(length: int, target: int, device: torch.device) -> Tensor:
    # As a tensor, since OpenVINO cannot compute the maximum of two sizes in a graph for any size.
    period = torch.full((1,), 2 * (length - 1), dtype=torch.int64, device=device).clamp(min=1)
    position = torch.arange(target, device=device) % period
    return torch.minimum(position, period - position)


def to_floats(pixels: Tensor, device: torch.device) -> Tensor:
    """Return uint8 pixels, (N, C, H, W), as floats in [0, 1] on a device."""
    return (pixels.to(device).float() / 255).contiguous(memory_format=torch.channels_last)


def to_bytes(images: Tensor) -> Tensor:
    """Return floats in [0, 1] as uint8 pixels of the same shape, rounded to the nearest."""
    return (images * 255).round().to(torch.uint8)
