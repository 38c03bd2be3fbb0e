"""What must hold of any sound evaluation, whatever the defence.

After Carlini et al. 2019, "On Evaluating Adversarial Robustness", Section 5. A failed check means
that an attack is too weak to be believed, or that the classifier is used wrongly. It goes into the
record as it is.
"""

from collections.abc import Iterator, Sequence

import msgspec
import torch
from torch import Tensor, nn

from comdefend.defenses import is_random
from comdefend.evaluation.findings import Check
from comdefend.evaluation.record import Row
from comdefend.evaluation.statistics import wilson_interval

# The usual means and standard deviations of training images, by number of channels.
_NORMALISATIONS: dict[int, dict[str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    3: {
        "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
        "[-1, 1]": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    },
    1: {
        "MNIST": ((0.1307,), (0.3081,)),
        "Fashion-MNIST": ((0.286,), (0.353,)),
        "[-1, 1]": ((0.5,), (0.5,)),
    },
}


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """How many images are left after PGD, each attack on its own.

    Attributes:
        images: Number of images attacked.
        eps: The bound, in units of 1/255.
        unbounded: Adaptive, 20 steps, without a bound.
        few: Adaptive, 5 steps.
        many: Adaptive, 20 steps.
        oblivious: Made on the bare classifier, 20 steps.
        standing: "1" for each image that is left after the 20 adaptive steps, "0" for the others.
    """

    images: int
    eps: float
    unbounded: int
    few: int
    many: int
    oblivious: int
    standing: str


def check_attacks(left: Left) -> list[Check]:
    """Check that attacks on one defence agree with each other."""
    return [
        Check(
            "without a bound nothing is left",
            left.unbounded == 0,
            f"PGD-20 within 255/255 leaves {left.unbounded} of {left.images} images",
        ),
        Check(
            "more steps never help the defender",
            left.many <= left.few,
            f"PGD within {left.eps:g}/255: {left.few} of {left.images} images stand after 5 steps, "
            f"{left.many} after 20",
        ),
        Check(
            "adaptive is never weaker than oblivious",
            left.many <= left.oblivious,
            f"PGD-20 within {left.eps:g}/255, each on its own: adaptive leaves {left.many} of "
            f"{left.images} images, oblivious {left.oblivious}",
        ),
    ]


def check_queries(rows: Sequence[Row], left: Left) -> list[Check]:
    """Check that attacks without gradients are no stronger than those with gradients.

    Args:
        rows: The rows of one defence.
        left: What is left after attacks with gradients.
    """
    checks = []
    for row in (r for r in rows if r.threat == "query"):
        count = min(row.images, left.images)
        query, gradient = row.correct[:count].count("1"), left.standing[:count].count("1")
        comparable = row.eps == left.eps
        others = f"PGD-20 {gradient}" if comparable else "PGD was not measured within this bound"
        checks.append(
            Check(
                "attacks without gradients never beat those with",
                gradient <= query if comparable else None,
                f"{row.attack} within {row.eps:g}/255 leaves {query} of {count} images, {others}",
            )
        )
    return checks


def check_repeats(classifier: nn.Module, draws: int) -> Check:
    """Check that a classifier that draws at random is meant to.

    Args:
        classifier: One that was found to answer the same images differently, or that says so.
        draws: Its answers are means over so many.
    """
    passed = is_random(classifier)
    detail = f"its answers to the same images differ; verdicts are of means over {draws} draws"
    hint = "; is dropout left on? If it is meant to, give it an attribute random = True"
    return Check(
        "a classifier that draws at random says so", passed, detail if passed else detail + hint
    )


def check_clean(hits: int, images: int, classes: int) -> Check:
    """Check that a classifier does better than guessing.

    If it normalises images twice, or sees other channels or classes than it was trained on, it does
    not, and nothing measured with it means anything.
    """
    passed = wilson_interval(hits, images)[0] > 1 / classes
    hint = (
        ""
        if passed
        else "; check that labels are numbered like the classifier's classes, and that images are "
        "not normalised twice, or not at all"
    )
    return Check(
        "clean accuracy is better than guessing",
        passed,
        f"{hits} of {images} images, {classes} classes{hint}",
    )


def other_ranges(
    images: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Iterator[tuple[str, str, Tensor]]:
    """Yield the images in other ranges of values, one of which the classifier may expect.

    Args:
        images: (N, C, H, W) in [0, 1].
        mean, std: What the user has the images normalised by, if anything.

    Yields:
        What was done to the images, what it means if they are classified better now, the images.
    """

    def channels(values: Sequence[float]) -> Tensor:
        return torch.tensor(values).view(1, -1, 1, 1)

    if mean is not None and std is not None:
        advice = "the classifier seems to normalise images itself: leave mean and std out"
        yield "mean and std undone", advice, images * channels(std) + channels(mean)
    for name, usual in _NORMALISATIONS.get(images.shape[1], {}).items():
        average, spread = map(channels, usual)
        advice = "the classifier seems to normalise images twice"
        yield f"the normalisation for {name} undone", advice, images * spread + average
        if mean is None:
            advice = "the classifier seems to expect normalised images: give their mean and std"
            yield f"the normalisation for {name}", advice, (images - average) / spread


def check_range(hits: int, images: int, others: Sequence[tuple[str, str, int]]) -> Check:
    """Check that a classifier does best on the images as it is given them.

    With images normalised twice, or not at all, it may still do better than guessing.

    Args:
        hits: Number of images classified correctly.
        images: Number of images.
        others: For each of `other_ranges` what was done, what it means, and the number of images
            classified correctly then.
    """
    name = "the classifier is given images as it expects them"
    if not others:
        return Check(name, None, "it takes images in no other range")
    what, advice, most = max(others, key=lambda other: other[2])
    passed = wilson_interval(most, images)[0] <= wilson_interval(hits, images)[1]
    detail = f"{hits} of {images} images are classified correctly as they are, {most} with {what}"
    return Check(name, passed, detail if passed else f"{detail}; {advice}")
