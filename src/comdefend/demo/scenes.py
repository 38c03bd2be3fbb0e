"""The demo's images and classifiers."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from comdefend.classifiers import open_classifier
from comdefend.common.extras import require
from comdefend.data.shipped import fashion_images
from comdefend.data.sources import DATASETS
from comdefend.defenses import DefendedClassifier
from comdefend.weights import zoo

PHOTO_SIDE = 160


@dataclass(frozen=True)
class Scene:
    """Images, the classifier that they are for, and what defends it.

    Attributes:
        images_name: What tables call the images.
        defense_name: What they call the purifier and the classifier behind it.
        picture: Name of the picture's file, without its suffix.
        images: (N, C, H, W) float in [0, 1].
        accepted: (N, classes) bool: the labels that are right for each image.
        classes: Names of the classes.
        classifier: Undefended; images in [0, 1] to logits.
        classifier_name: What tables call it.
        defended: A `ComDefend`, and behind it the same classifier or one that was trained with it.
        shown: Indices of the images in the picture.
    """

    images_name: str
    defense_name: str
    picture: str
    images: Tensor
    accepted: Tensor
    classes: tuple[str, ...]
    classifier: nn.Module
    classifier_name: str
    defended: DefendedClassifier
    shown: tuple[int, ...]


@dataclass(frozen=True)
class _Photo:
    """A photograph of scikit-image's, the square of it that shows something, and what that is."""

    file: str
    box: tuple[int, int, int, int]
    labels: tuple[str, ...]


# The labels are what a person would accept for the picture, whatever the classifier says.
_PHOTOS = (
    _Photo("chelsea.png", (76, 0, 376, 300), ("tabby", "tiger cat", "Egyptian cat")),
    _Photo("coffee.png", (100, 0, 500, 400), ("espresso", "cup", "coffee mug")),
    _Photo("rocket.jpg", (210, 0, 550, 340), ("missile", "projectile")),
    _Photo("motorcycle_left.png", (120, 0, 620, 500), ("moped", "motor scooter")),
    _Photo("camera.png", (0, 0, 512, 512), ("tripod", "reflex camera")),
    _Photo("astronaut.png", (347, 112, 512, 277), ("space shuttle",)),
)


def fashion_scene() -> Scene:
    """Return 200 Fashion-MNIST test images with the shipped classifier and purifier."""
    images, labels = fashion_images()
    classes = DATASETS["fashion-mnist"].classes
    classifier = zoo.load_classifier("fashion-mnist-small")
    return Scene(
        images_name="Fashion-MNIST",
        defense_name="gray-4bpp",
        picture="fashion-mnist",
        images=images.float() / 255,
        accepted=torch.nn.functional.one_hot(labels, len(classes)).bool(),
        classes=classes,
        classifier=classifier,
        classifier_name="fashion-mnist-small",
        defended=DefendedClassifier(zoo.load("gray-4bpp"), classifier),
        # The first image of six classes that do not look alike.
        shown=tuple(int((labels == c).nonzero()[0]) for c in (0, 1, 5, 7, 8, 9)),
    )


def robust_scene() -> Scene:
    """Return the same images and classifier, behind a purifier trained against attackers."""
    scene, name = fashion_scene(), "gray-2bpp-adversarial"
    return dataclasses.replace(
        scene,
        defense_name=name,
        picture="fashion-mnist-adversarial",
        defended=DefendedClassifier(zoo.load(name), scene.classifier),
    )


def photo_scene() -> Scene:
    """Return six photographs of scikit-image's, with EfficientNet-Lite0.

    Raises:
        ExtraMissingError: The ``demo`` extra is not installed.
    """
    folder = Path(require("skimage.data", "demo").__file__).parent
    weights = require("torchvision.models", "demo").ResNet50_Weights.DEFAULT
    classes = tuple(weights.meta["categories"])
    images = []
    accepted = torch.zeros(len(_PHOTOS), len(classes), dtype=torch.bool)
    for row, photo in enumerate(_PHOTOS):
        with Image.open(folder / photo.file) as image:
            square = image.convert("RGB").resize(
                (PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.LANCZOS, box=photo.box
            )
        images.append(torch.from_numpy(np.array(square)).permute(2, 0, 1))
        for label in photo.labels:
            accepted[row, classes.index(label)] = True
    classifier = open_classifier("efficientnet-lite0")
    return Scene(
        images_name="Photographs",
        defense_name="rgb-12bpp",
        picture="photographs",
        images=torch.stack(images).float() / 255,
        accepted=accepted,
        classes=classes,
        classifier=classifier,
        classifier_name="EfficientNet-Lite0",
        defended=DefendedClassifier(zoo.load("rgb-12bpp"), classifier),
        shown=tuple(range(len(_PHOTOS))),
    )
