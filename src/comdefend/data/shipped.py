"""The images that ship: Fashion-MNIST in this package, photographs in scikit-image's."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load
from torch import Tensor

from comdefend.common.extras import require


@dataclass(frozen=True)
class Photographs:
    """Photographs with the ImageNet classes that are right for them.

    Attributes:
        images: (N, 3, side, side) uint8.
        accepted: For each image the classes that a person would accept, as indices of ``classes``.
        classes: The names of ImageNet's 1000 classes.
    """

    images: Tensor
    accepted: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class _Photo:
    """A file of scikit-image, the square of it that shows one thing, and names of that thing."""

    file: str
    box: tuple[int, int, int, int]
    labels: tuple[str, ...]


# The labels are those that a person would accept, whatever a classifier says.
_LABELLED = (
    _Photo("chelsea.png", (76, 0, 376, 300), ("tabby", "tiger cat", "Egyptian cat")),
    _Photo("coffee.png", (100, 0, 500, 400), ("espresso", "cup", "coffee mug")),
    _Photo("rocket.jpg", (210, 0, 550, 340), ("missile", "projectile")),
    _Photo("motorcycle_left.png", (120, 0, 620, 500), ("moped", "motor scooter")),
    _Photo("camera.png", (0, 0, 512, 512), ("tripod", "reflex camera")),
    _Photo("astronaut.png", (347, 112, 512, 277), ("space shuttle",)),
)
_SHOWING_ONE_THING = {
    "Cat": "chelsea.png",
    "Coffee": "coffee.png",
    "Rocket": "rocket.jpg",
    "Motorbike": "motorcycle_left.png",
}
_PLAIN = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


def fashion_images() -> tuple[Tensor, Tensor]:
    """Return the shipped 200 Fashion-MNIST test images, 20 of each class, and their labels.

    (200, 1, 28, 28) uint8 and (200,) int64. MIT licence, Zalando SE.
    """
    data = (resources.files("comdefend.data") / "fashion-mnist-200.safetensors").read_bytes()
    tensors = load(data)
    return tensors["images"], tensors["labels"].long()


def labelled_photographs(side: int) -> Photographs:
    """Return six photographs, each cut to a square and scaled to ``side`` pixels.

    Raises:
        ExtraMissingError: scikit-image or torchvision, which names the classes, is not installed.
    """
    folder = _photo_folder()
    weights = require("torchvision.models", "demo").ResNet50_Weights.DEFAULT
    classes = tuple(weights.meta["categories"])
    images = []
    for photo in _LABELLED:
        with Image.open(folder / photo.file) as image:
            square = image.convert("RGB").resize(
                (side, side), Image.Resampling.LANCZOS, box=photo.box
            )
        images.append(torch.from_numpy(np.array(square)).permute(2, 0, 1))
    accepted = tuple(tuple(map(classes.index, photo.labels)) for photo in _LABELLED)
    return Photographs(torch.stack(images), accepted, classes)


def photograph_files() -> dict[str, Path]:
    """Return files of scikit-image's photographs that show one thing each, by its name.

    Raises:
        ExtraMissingError: scikit-image is not installed.
    """
    folder = _photo_folder()
    return {title: folder / file for title, file in _SHOWING_ONE_THING.items()}


def image_crops(channels: int, count: int, height: int, width: int) -> Tensor:
    """Return real images of any shape: (count, channels, height, width) uint8.

    Crops of scikit-image's photographs, or, with one channel, of the Fashion-MNIST images. Images
    smaller than the crop are continued by their mirror image.

    Raises:
        ExtraMissingError: scikit-image is not installed.
    """
    sources = _SOURCES[channels]()
    crops = [
        _crop(sources[index % len(sources)], height, width, index // len(sources))
        for index in range(count)
    ]
    return torch.from_numpy(np.stack(crops))


def _crop(image: np.ndarray, height: int, width: int, turn: int) -> np.ndarray:
    """Cut (C, height, width) out of (C, H, W), elsewhere in every turn."""
    beyond = [
        (0, max(0, side - has)) for side, has in zip((height, width), image.shape[1:], strict=True)
    ]
    image = np.pad(image, ((0, 0), *beyond), mode="symmetric")
    top, left = (
        turn * 37 % (has - side + 1)
        for side, has in zip((height, width), image.shape[1:], strict=True)
    )
    return image[:, top : top + height, left : left + width]


def _photographs() -> list[np.ndarray]:
    folder = _photo_folder()
    photographs = []
    for name in _PLAIN:
        with Image.open(folder / name) as image:
            photographs.append(np.array(image.convert("RGB")).transpose(2, 0, 1))
    return photographs


_SOURCES: dict[int, Callable[[], list[np.ndarray]]] = {
    1: lambda: list(fashion_images()[0].numpy()),
    3: _photographs,
}


def _photo_folder() -> Path:
    return Path(require("skimage.data", "demo").__file__).parent
