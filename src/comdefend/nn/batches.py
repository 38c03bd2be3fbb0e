"""Running a model on many images, a batch at a time."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from comdefend.nn.device import device_of
from comdefend.nn.purifier import ComDefend

# Pixels per batch, through a purifier (of each block of its code) and through a classifier alone:
# enough to keep two cores busy, few enough that the backward pass of an attack takes less than a
# gigabyte.
PURIFIER_PIXELS, CLASSIFIER_PIXELS = 25_000, 250_000
# A GPU needs larger batches to be busy, and has the memory for them.
GPU_FACTOR = 40


def batches(count: int, size: int) -> Iterator[slice]:
    """Yield slices that cover ``range(count)`` in steps of ``size``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def images_at_once(model: nn.Module, images: Tensor) -> int:
    """Return how many of these (N, C, H, W) images to give to a model at once.

    A model that averages over several passes has an attribute ``draws``, their number; each pass
    holds a graph of its own.
    """
    pixels = CLASSIFIER_PIXELS
    for part in model.modules():
        if isinstance(part, ComDefend):
            pixels = min(pixels, PURIFIER_PIXELS * part.config.downscale**2)
    pixels *= 1 if device_of(model).type == "cpu" else GPU_FACTOR
    draws = getattr(model, "draws", 1)
    pixels //= draws if isinstance(draws, int) else 1
    return max(1, pixels // images[0, 0].numel())


@torch.inference_mode()
def apply(model: nn.Module, images: Tensor, seed: int = 0, like: nn.Module | None = None) -> Tensor:
    """Return a model's outputs for (N, C, H, W) images, on the CPU.

    Args:
        model: In evaluation mode.
        images: On any device.
        seed: Seed of the model's random draws; the global generator is restored afterwards.
        like: Model that determines device and batch size, by default the model itself. A part of a
            larger model then computes the same bits as within the whole.
    """
    device, size = device_of(like or model), images_at_once(like or model, images)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        outputs = [model(images[part].to(device)).cpu() for part in batches(len(images), size)]
    return torch.cat(outputs)


def fingerprint(model: nn.Module) -> str:
    """Return a SHA-256 over a model's structure, parameters and buffers."""
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
