"""One photograph, attacked twice: by someone who does not know the purifier, and one who does."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor, nn

from comdefend.app.choices import STEPS, Chosen, Opened, opened_classifier, opened_purifier
from comdefend.app.photograph import prepared
from comdefend.attacks import ATTACKS, run_attack
from comdefend.defenses import DefendedClassifier
from comdefend.errors import InputError
from comdefend.evaluation.panels import Prediction
from comdefend.nn.purifier import ComDefend

SECONDS = 180
"""An attack that takes longer is given up, so that others get their turn."""

Tell = Callable[[str, int, int], None]
"""What is being done, the steps that are over, and all steps."""


@dataclass(frozen=True)
class Seen:
    """An image on its way to the answer.

    Attributes:
        image: (3, H, W) in [0, 1].
        code: (K, h, w), 0 or 1.
        purified: (3, H, W) in [0, 1].
        alone: The classifier's answer to the image.
        defended: Its answer to the purified image.
    """

    image: Tensor
    code: Tensor
    purified: Tensor
    alone: Prediction
    defended: Prediction


@dataclass(frozen=True)
class Trial:
    """What is known so far; `right` in a prediction means that it is still the clean answer.

    Attributes:
        chosen: What was asked for.
        clean: The photograph as it came.
        oblivious: Attacked by someone who has the classifier alone.
        adaptive: Attacked by someone who has purifier and classifier.
    """

    chosen: Chosen
    clean: Seen
    oblivious: Seen | None = None
    adaptive: Seen | None = None


def run_trial(
    photograph: Image.Image, chosen: Chosen, tell: Tell, stopped: Callable[[], bool]
) -> Iterator[Trial]:
    """Attack a photograph; yields whenever more is known: clean, oblivious, adaptive.

    The clean answer of the classifier alone is taken for the truth, as nobody knows it here.

    Args:
        photograph: Square, RGB.
        chosen: What to do with it.
        tell: Told of each step.
        stopped: Whether nobody waits any more; asked before each step.

    Raises:
        InputError: The purifier lacks the rate, a bad eps, or it was stopped or took too long.
    """
    tell("Opening classifier and purifier", 0, 1)
    classifier = opened_classifier(chosen.classifier)
    purifier = opened_purifier(chosen.purifier, chosen.bpp)
    clean = prepared(photograph, classifier.wanted)
    with torch.inference_mode():
        answer = int(classifier.network(clean).argmax(1))
    steps = STEPS if ATTACKS[chosen.attack].steps else 1
    deadline = time.monotonic() + SECONDS

    def attack(model: nn.Module, doing: str) -> Seen:
        def step(number: int) -> None:
            if stopped():
                raise InputError("stopped, as nobody waits or the server ends")
            if time.monotonic() > deadline:
                raise InputError(
                    f"given up after {SECONDS} s; take a smaller purifier, or come back when "
                    "fewer people attack"
                )
            tell(doing, min(number, steps - 1), steps)

        labels = torch.tensor([answer])
        watched = _Watched(model, step).eval()
        attacked = run_attack(watched, clean, labels, chosen.attack, chosen.eps, steps)
        return _seen(attacked, answer, classifier, purifier)

    trial = Trial(chosen, _seen(clean, answer, classifier, purifier))
    yield trial
    trial = replace(trial, oblivious=attack(classifier.network, "Attacking the classifier"))
    yield trial
    defended = DefendedClassifier(purifier, classifier.network)
    yield replace(trial, adaptive=attack(defended, "Attacking through the purifier"))


def _seen(image: Tensor, answer: int, classifier: Opened, purifier: ComDefend) -> Seen:
    with torch.inference_mode():
        code = purifier.encode(image)
        purified = purifier.decode(code, size=(image.shape[-2], image.shape[-1]))
        alone, defended = (
            _prediction(classifier.network(shown), answer, classifier.classes)
            for shown in (image, purified)
        )
    return Seen(image[0], code[0], purified[0], alone, defended)


def _prediction(logits: Tensor, answer: int, classes: tuple[str, ...]) -> Prediction:
    confidence, predicted = (values.item() for values in logits.softmax(1).max(1))
    return Prediction(classes[int(predicted)], confidence, int(predicted) == answer)


class _Watched(nn.Module):
    """A model under attack, of which each pass is a step of the attack."""

    model: nn.Module

    def __init__(self, model: nn.Module, step: Callable[[int], None]) -> None:
        super().__init__()
        self.model, self.step, self.passes = model, step, 0

    def forward(self, images: Tensor) -> Tensor:
        """Return the model's logits."""
        self.step(self.passes)
        self.passes += 1
        return self.model(images)
