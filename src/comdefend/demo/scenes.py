"""What the demo shows: experiments on the images that ship."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from comdefend.classifiers import open_classifier
from comdefend.common.defaults import RECOMMENDED
from comdefend.data.image_set import ImageSet
from comdefend.data.places import DATASETS
from comdefend.data.shipped import fashion_images, labelled_photographs
from comdefend.evaluation.experiment import Experiment
from comdefend.evaluation.given import Given
from comdefend.evaluation.loading import build_experiment

# The published method, in the network that computes it fastest.
PUBLISHED = "rgb-12bpp-lite"
EPS = 8
PGD_STEPS, ADAPTIVE_STEPS = 10, 5
PER_CLASS, PHOTO_SIDE = 3, 160


@dataclass(frozen=True)
class Scene:
    """An experiment on images that ship, and the pictures that are drawn of it.

    Attributes:
        experiment: What is measured.
        given: The images, and the classifier where its name does not say all.
        pictures: Name of a defence -> name of the picture of it, without suffix.
        shown: Labels of which the first image is in the pictures.
        compared: A defence whose purified images are in the pictures of the others.
    """

    experiment: Experiment
    given: Given
    pictures: dict[str, str]
    shown: tuple[int, ...]
    compared: str | None = None


def fashion_scene() -> Scene:
    """Return Fashion-MNIST test images, the published method, and one trained against attackers."""
    images, labels = fashion_images()
    classes = DATASETS["fashion-mnist"].classes
    few = torch.cat([(labels == c).nonzero().flatten()[:PER_CLASS] for c in range(len(classes))])
    return Scene(
        _experiment(
            "fashion-mnist", "Fashion-MNIST", "fashion-mnist-small",
            ["gray-4bpp", "gray-2bpp-adversarial"], len(few),
        ),
        Given(ImageSet(images[few], labels[few], classes)),
        {"gray-4bpp": "fashion-mnist", "gray-2bpp-adversarial": "fashion-mnist-adversarial"},
        # Six classes that do not look alike.
        (0, 1, 5, 7, 8, 9),
    )  # fmt: skip


def photo_scene() -> Scene:
    """Return photographs in scikit-image's wheel, the published method, and one for photographs.

    The classifier is EfficientNet-Lite0.

    Raises:
        ExtraMissingError: The ``demo`` extra is not installed.
    """
    photographs = labelled_photographs(PHOTO_SIDE)
    classifier = Merged(open_classifier("efficientnet-lite0"), photographs.accepted)
    merged = classifier.names(photographs.classes)
    first = len(merged) - len(photographs.accepted)
    labels = torch.arange(first, len(merged))
    return Scene(
        _experiment(
            "photographs", "Photographs", "efficientnet-lite0", [PUBLISHED, RECOMMENDED],
            len(labels),
        ),
        Given(ImageSet(photographs.images, labels, merged), classifier.eval()),
        {RECOMMENDED: "photographs"},
        tuple(labels.tolist()),
        PUBLISHED,
    )  # fmt: skip


class Merged(nn.Module):
    """A classifier in which groups of classes count as one class each.

    ImageNet has several names for what some photographs show: many call a tabby an Egyptian cat.

    Args:
        classifier: Images to logits (N, classes).
        groups: Disjoint groups of classes; their probabilities are added.
    """

    def __init__(self, classifier: nn.Module, groups: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.classifier, self.groups = classifier, groups
        self.train(classifier.training)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of all other classes, followed by those of the groups."""
        logits = self.classifier(images)
        merged = [logits[:, list(group)].logsumexp(1) for group in self.groups]
        return torch.cat([logits[:, self._others(logits.shape[1])], torch.stack(merged, 1)], 1)

    def names(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the classes that come out, given those of the classifier."""
        others = tuple(classes[index] for index in self._others(len(classes)))
        return (*others, *(" / ".join(classes[i] for i in group) for group in self.groups))

    def _others(self, count: int) -> list[int]:
        grouped = {index for group in self.groups for index in group}
        return [index for index in range(count) if index not in grouped]

    def extra_repr(self) -> str:
        """Return the groups, which belong to what the classifier is."""
        return f"groups={self.groups}"


def _experiment(
    name: str, title: str, classifier: str, defenses: list[str], images: int
) -> Experiment:
    return build_experiment(
        {
            "name": name, "title": title, "data": f"{name}, as shipped",
            "classifier": classifier, "defenses": ["none", *defenses],
            "oblivious": [
                {"attack": "fgsm", "eps": [EPS]},
                {"attack": "pgd", "eps": [EPS], "steps": PGD_STEPS},
            ],
            "adaptive": [{"attack": "pgd", "eps": [EPS], "steps": ADAPTIVE_STEPS}],
            "stand_ins": ["identity"], "checks": 0, "images": images,
        },
        "demo",
    )  # fmt: skip
