"""Running models on many images, a batch at a time."""

import hashlib
from collections import OrderedDict

import torch
from torch import Tensor, nn

from comdefend.attacks.adaptive import Expectation
from comdefend.data.sources import batches
from comdefend.nn.purifier import ComDefend

# Pixels that go through a purifier together, or through a classifier alone: enough to fill two
# cores, few enough that the backward pass of an attack stays below a gigabyte.
PURIFIER_PIXELS, CLASSIFIER_PIXELS = 25_000, 250_000
# A GPU wants more at once, and has room for it.
GPU_FACTOR = 40


def images_at_once(model: nn.Module, images: Tensor) -> int:
    """Return how many of these (N, C, H, W) images a model should be given at once."""
    purifies = any(isinstance(part, ComDefend) for part in model.modules())
    pixels = PURIFIER_PIXELS if purifies else CLASSIFIER_PIXELS
    pixels *= 1 if device_of(model).type == "cpu" else GPU_FACTOR
    # Every draw of an expectation holds a graph of its own.
    pixels //= model.draws if isinstance(model, Expectation) else 1
    return max(1, pixels // images[0, 0].numel())


@torch.inference_mode()
def apply(model: nn.Module, images: Tensor, seed: int = 0, like: nn.Module | None = None) -> Tensor:
    """Return a model's outputs for (N, C, H, W) images, on the CPU.

    Args:
        model: In evaluation mode.
        images: On any device.
        seed: Of what the model draws at random; the global generator is left as it was.
        like: Take the device of this model, and as many images at once: a part then computes what
            it computes within the whole, to the last bit.
    """
    device, size = device_of(like or model), images_at_once(like or model, images)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = [model(images[part].to(device)).cpu() for part in batches(len(images), size)]
    return torch.cat(found)


class Purified:
    """What purifiers make of images, kept in memory: most are asked for several times.

    Args:
        limit: Bytes to keep; what was not asked for longest goes first.
    """

    def __init__(self, limit: int = 2**28) -> None:
        self.limit, self.size = limit, 0
        self.kept: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()

    def __call__(
        self, purifier: nn.Module, key: str, images: Tensor, like: nn.Module | None = None
    ) -> Tensor:
        """Return purified images, as `apply` does.

        Args:
            purifier: In evaluation mode, and not random.
            key: What tells it from other purifiers.
            images: (N, C, H, W), on the CPU.
            like: As for `apply`.
        """
        model = like or purifier
        found = []
        # By batches, and the same as `apply` takes: the last bits may differ with a batch's size.
        for part in batches(len(images), images_at_once(model, images)):
            batch = images[part].contiguous()
            digest = hashlib.sha256(batch.numpy().data).hexdigest()
            place = (key, str(device_of(model)), str(tuple(batch.shape)), digest)
            if (purified := self.kept.pop(place, None)) is None:
                purified = apply(purifier, batch, like=model)
                self.size += purified.nbytes
            self.kept[place] = purified
            found.append(purified)
            while self.size > self.limit:
                self.size -= self.kept.popitem(last=False)[1].nbytes
        return torch.cat(found)


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
