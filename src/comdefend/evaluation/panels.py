"""Example images: as they came, attacked, and purified, with what the classifier makes of each."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

import msgspec
import torch
from PIL import Image
from torch import Tensor

from comdefend.evaluation.judge import Judge
from comdefend.evaluation.subjects import Subject
from comdefend.nn.batches import apply
from comdefend.nn.images import to_bytes

MAGNIFIED = 10
"""The perturbation is shown around grey, so many times as strong."""


class Prediction(msgspec.Struct, frozen=True):
    """What a classifier makes of an image.

    Attributes:
        label: Name of the class.
        confidence: Its probability, in [0, 1].
        right: Whether it is the true class.
    """

    label: str
    confidence: float
    right: bool


@dataclass(frozen=True)
class Example:
    """One image of the sample, and what became of it.

    Attributes:
        label: Name of the true class.
        images: By name (``clean``, ``attacked``, ``purified`` and whatever else is shown), each
            (C, H, W) in [0, 1].
        predictions: Of those images, by the same names.
    """

    label: str
    images: Mapping[str, Tensor]
    predictions: Mapping[str, Prediction]


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """An example as a report shows it.

    Attributes:
        defense: Name of the defence.
        label: Name of the true class.
        images: PNGs in base64, by name; ``perturbation`` among them.
        predictions: By the name of the image.
    """

    defense: str
    label: str
    images: dict[str, str]
    predictions: dict[str, Prediction]


def examples(
    judge: Judge,
    subject: Subject,
    chosen: Tensor,
    attacked: Mapping[str, Tensor],
    classes: tuple[str, ...],
) -> list[Example]:
    """Return some images of the sample with what attack and purifier make of them.

    Args:
        judge: Knows the sample.
        subject: The defence, with a purifier.
        chosen: (M,) indices into the sample.
        attacked: By name, each (M, C, H, W) in [0, 1]: ``attacked`` is shown as it is and, as
            ``purified``, behind the purifier; others are shown behind the purifier alone.
        classes: Names of the classes; numbers stand for them where there are none.
    """
    shown = {"clean": judge.images[chosen], "attacked": attacked["attacked"]}
    for name, images in attacked.items():
        shown["purified" if name == "attacked" else name] = judge.purify(subject, images)
    labels = judge.labels[chosen].tolist()
    answers = {
        name: apply(subject.classifier, images).softmax(1).max(1) for name, images in shown.items()
    }

    def prediction(name: str, index: int) -> Prediction:
        confidence, predicted = (values[index].item() for values in answers[name])
        right = int(predicted) == labels[index]
        return Prediction(_named(int(predicted), classes), confidence, right)

    return [
        Example(
            _named(label, classes),
            {name: images[index] for name, images in shown.items()},
            {name: prediction(name, index) for name in shown},
        )
        for index, label in enumerate(labels)
    ]


def to_panel(defense: str, example: Example) -> Panel:
    """Return an example as a report shows it."""
    perturbation = example.images["attacked"] - example.images["clean"]
    images = {**example.images, "perturbation": (0.5 + MAGNIFIED * perturbation).clamp(0, 1)}
    return Panel(
        defense=defense,
        label=example.label,
        images={name: _png(image) for name, image in images.items()},
        predictions=dict(example.predictions),
    )


def choose(labels: Tensor, attacked_right: Tensor, defended_right: Tensor, count: int) -> Tensor:
    """Return indices of images to show: both kinds of outcome, no class twice where possible.

    Images that the attack breaks come before those that it does not; of these, saved and lost ones
    alternate, so that examples are no selection of successes.
    """
    broken = ~attacked_right
    saved = (broken & defended_right).nonzero().flatten().tolist()
    lost = (broken & ~defended_right).nonzero().flatten().tolist()
    order = [i for pair in zip_longest(saved, lost) for i in pair if i is not None]
    order += attacked_right.nonzero().flatten().tolist()
    first = list({int(labels[i]): i for i in reversed(order)}.values())[::-1]
    rest = [i for i in order if i not in first]
    return torch.tensor((sorted(first, key=order.index) + rest)[:count], dtype=torch.int64)


def _named(label: int, classes: tuple[str, ...]) -> str:
    return classes[label] if label < len(classes) else str(label)


def _png(image: Tensor) -> str:
    pixels = to_bytes(image).permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
