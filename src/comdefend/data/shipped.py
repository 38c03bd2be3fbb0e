"""The images that ship with the package."""

from importlib import resources

from safetensors.torch import load
from torch import Tensor


def fashion_images() -> tuple[Tensor, Tensor]:
    """Return the shipped 200 Fashion-MNIST test images, 20 of each class, and their labels.

    (200, 1, 28, 28) uint8 and (200,) int64. MIT licence, Zalando SE.
    """
    data = (resources.files("comdefend.data") / "fashion-mnist-200.safetensors").read_bytes()
    tensors = load(data)
    return tensors["images"], tensors["labels"].long()
