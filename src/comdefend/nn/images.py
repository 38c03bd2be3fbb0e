"""What networks do with images before they look at them: checks, and padding."""

import torch
from torch import Tensor

from comdefend.errors import InputError, InputTypeError

# Resizing and other arithmetic overshoots [0, 1] by rounding; anything beyond this is a mistake
# such as images in 0..255 or already normalised.
RANGE_TOLERANCE = 1e-3


def check_images(images: Tensor, channels: int, dtype: torch.dtype) -> None:
    """Check that images fit the weights they are given to.

    Args:
        images: What should be (N, C, H, W) float in [0, 1].
        channels: C, 3 (RGB) or 1 (grey).
        dtype: That of the weights.

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
        raise InputTypeError(f"{name}: must be {dtype} as the weights, not {tensor.dtype}")


def check_range(name: str, tensor: Tensor) -> None:
    """Check that an argument is not empty and lies in [0, 1].

    Raises:
        InputError: It is empty, or a value lies outside, or is NaN.
    """
    # A graph that is being compiled or exported cannot branch on values.
    if torch.compiler.is_compiling():
        return
    if tensor.numel() == 0:
        raise InputError(f"{name}: empty, its shape is {tuple(tensor.shape)}")
    values = tensor.detach()
    if values.device.type == "cpu" and values.dtype == torch.float32:
        # By one thread: torch's others would go on spinning, and be in the way of an engine's.
        low, high = values.numpy().min().item(), values.numpy().max().item()
    else:
        low, high = (bound.item() for bound in torch.aminmax(values))
    if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):
        raise InputError(f"{name}: must lie in [0, 1] without NaN, found {low:.4g} to {high:.4g}")


def pad_to_multiple(images: Tensor, factor: int) -> Tensor:
    """Reflect images at the right and the bottom until ``factor`` divides their size.

    By index and not by ``F.pad``, whose reflection needs more pixels than it pads: an image of a
    single pixel is padded too.

    Args:
        images: (N, C, H, W), any H and W.
        factor: At least 1.
    """
    height, width = images.shape[-2:]
    # In a graph for any size nobody knows yet what divides it.
    if factor == 1 or not (torch.compiler.is_compiling() or height % factor or width % factor):
        return images
    rows = _reflected_indices(height, (height + factor - 1) // factor * factor, images.device)
    columns = _reflected_indices(width, (width + factor - 1) // factor * factor, images.device)
    return images.index_select(-2, rows).index_select(-1, columns)


def _reflected_indices(length: int, target: int, device: torch.device) -> Tensor:
    # As a tensor: in a graph for any size, OpenVINO knows no maximum of two sizes.
    period = torch.full((1,), 2 * (length - 1), dtype=torch.int64, device=device).clamp(min=1)
    position = torch.arange(target, device=device) % period
    return torch.minimum(position, period - position)
