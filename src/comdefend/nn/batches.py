"""Running a model on many images, a batch at a time."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from comdefend.nn.purifier import ComDefend

# Pixels that go through a purifier together, or through a classifier alone: enough to fill two
# cores, few enough that the backward pass of an attack stays below a gigabyte.
PURIFIER_PIXELS, CLASSIFIER_PIXELS = 25_000, 250_000
# A GPU wants more at once, and has room for it.
GPU_FACTOR = 40


def batches(count: int, size: int) -> Iterator[slice]:
    """Yield slices that cover ``range(count)`` in steps of ``size``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def images_at_once(model: nn.Module, images: Tensor) -> int:
    """Return how many of these (N, C, H, W) images a model should be given at once.

    A model that averages over several passes says so by an attribute ``draws``: each pass holds a
    graph of its own.
    """
    purifies = any(isinstance(part, ComDefend) for part in model.modules())
    pixels = PURIFIER_PIXELS if purifies else CLASSIFIER_PIXELS
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
        seed: Of what the model draws at random; the global generator is left as it was.
        like: Take this model's device and batch size, so that a part computes what it computes
            within the whole, to the last bit.
    """
    device, size = device_of(like or model), images_at_once(like or model, images)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        outputs = [model(images[part].to(device)).cpu() for part in batches(len(images), size)]
    return torch.cat(outputs)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's parameters; the CPU where it has none."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def fingerprint(model: nn.Module) -> str:
    """Return a SHA-256 over a model's structure, parameters and buffers."""
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
