"""Detecting attacked images by how far the prediction moves under purification.

A clean image and its purified version should be classified alike; a perturbation that purification
removes shows as a change of the prediction (Xu et al. 2018, Section V). An attacker who knows of
the detector can avoid this, as with every defence here.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from comdefend.common.extras import require
from comdefend.defenses.defended import DefendedClassifier
from comdefend.errors import InputError, InputTypeError

# Enough images at once to fill a processor, few enough for a purifier's memory.
_BATCH = 32


def movement(before_logits: Tensor, after_logits: Tensor) -> Tensor:
    """Return how far each prediction moved: the L1 distance of the softmaxes.

    The score of Xu et al. 2018, Section V. Differentiable.

    Args:
        before_logits: (N, classes) of the images as they came.
        after_logits: (N, classes) of the purified images.

    Returns:
        (N,) in [0, 2]: 0 where nothing moved, 2 where one certainty became another.

    Raises:
        InputError: The shapes differ, or are not (N, classes).
    """
    if before_logits.ndim != 2 or before_logits.shape != after_logits.shape:
        raise InputError(
            "logits must both be (N, classes), not "
            f"{tuple(before_logits.shape)} and {tuple(after_logits.shape)}"
        )
    return (before_logits.softmax(1) - after_logits.softmax(1)).abs().sum(1)


def detection_threshold(clean_scores: Tensor, false_positive_rate: float) -> float:
    """Return the smallest threshold that flags at most a given share of clean images.

    An image is flagged where its score is above the threshold, not equal to it.

    Args:
        clean_scores: (N,) the scores of clean images; with fewer than 1 / rate of them the
            threshold is their largest.
        false_positive_rate: The share, at least 0 and below 1.

    Raises:
        InputError: No scores, scores that are not finite, or a rate out of its range.
    """
    _check_scores("clean_scores", clean_scores)
    if not 0 <= false_positive_rate < 1:
        raise InputError(
            f"false_positive_rate must be at least 0 and below 1, not {false_positive_rate}"
        )
    count = len(clean_scores)
    flagged = math.floor(false_positive_rate * count)
    # The product may be rounded across an integer (0.29 * 100 is below 29); the quotient decides.
    if (flagged + 1) / count <= false_positive_rate:
        flagged += 1
    elif flagged / count > false_positive_rate:
        flagged -= 1
    # At most ``flagged`` scores are above the next one down, and more are above anything smaller.
    return clean_scores.sort(descending=True).values[flagged].item()


def auroc(clean_scores: Tensor, attacked_scores: Tensor) -> float:
    """Return the area under the ROC curve.

    It is the chance that an attacked image scores above a clean one, ties counting one half.

    Args:
        clean_scores: (N,).
        attacked_scores: (M,).

    Raises:
        InputError: One of them is empty, not of shape (N,), or not finite.
        ExtraMissingError: The ``evaluate`` extra is not installed.
    """
    metrics = require("torchmetrics.functional.classification", "evaluate")
    return metrics.binary_auroc(*_ranked(clean_scores, attacked_scores)).item()


def roc_curve(clean_scores: Tensor, attacked_scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ROC curve, from (0, 0) to (1, 1), a point for each distinct score.

    Args:
        clean_scores: (N,).
        attacked_scores: (M,).

    Returns:
        False positive rates and true positive rates, both ascending and of one length.

    Raises:
        InputError: One of them is empty, not of shape (N,), or not finite.
        ExtraMissingError: The ``evaluate`` extra is not installed.
    """
    metrics = require("torchmetrics.functional.classification", "evaluate")
    false_positives, true_positives, _ = metrics.binary_roc(*_ranked(clean_scores, attacked_scores))
    return false_positives, true_positives


@dataclass(frozen=True)
class Detector:
    """Flags images whose prediction purification moves further than a threshold.

    Args:
        defended: The classifier and the purifier, in evaluation mode.
        threshold: Scores above it are flagged; `calibrate` finds it.

    Raises:
        InputTypeError: ``defended`` is not a `DefendedClassifier`.
    """

    defended: DefendedClassifier
    threshold: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.defended, DefendedClassifier):
            raise InputTypeError(
                f"defended must be a DefendedClassifier, not {type(self.defended).__name__}"
            )

    def scores(self, images: Tensor) -> Tensor:
        """Return the `movement` of each image: (N, C, H, W) in [0, 1] -> (N,) in [0, 2].

        Differentiable, so that an adaptive attack can take it into account.

        Raises:
            InputError: The defended classifier is in training mode.
        """
        if self.defended.training:
            raise InputError("the defended classifier is in training mode; call its eval() first")
        return movement(self.defended.classifier(images), self.defended(images))

    def calibrate(self, images: Tensor, false_positive_rate: float) -> "Detector":
        """Return a detector that flags at most a given share of these clean images.

        Args:
            images: (N, C, H, W) in [0, 1], clean; not those that the detector is measured on.
            false_positive_rate: The share, at least 0 and below 1.

        Raises:
            InputError: No images, a rate out of its range, or training mode.
        """
        threshold = detection_threshold(self._all_scores(images), false_positive_rate)
        return dataclasses.replace(self, threshold=threshold)

    def flag(self, images: Tensor) -> Tensor:
        """Return which images look attacked: (N, C, H, W) in [0, 1] -> (N,) bool.

        Raises:
            InputError: The detector has no threshold yet, or is in training mode.
        """
        if self.threshold is None:
            raise InputError("the detector has no threshold; call calibrate() with clean images")
        return self._all_scores(images) > self.threshold

    @torch.no_grad()
    def _all_scores(self, images: Tensor) -> Tensor:
        return torch.cat([self.scores(part) for part in images.split(_BATCH)])


def _ranked(clean_scores: Tensor, attacked_scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return all scores as ranks in [0, 1], and which are of attacked images.

    ROC curves depend on the order alone. torchmetrics puts scores outside [0, 1] through a sigmoid,
    after which close ones would tie; ranks pass unchanged.
    """
    _check_scores("clean_scores", clean_scores)
    _check_scores("attacked_scores", attacked_scores)
    scores = torch.cat([clean_scores, attacked_scores]).detach()
    distinct, ranks = scores.unique(return_inverse=True)
    attacked = torch.zeros_like(ranks)
    attacked[len(clean_scores) :] = 1
    return ranks.double() / len(distinct), attacked


def _check_scores(name: str, scores: Tensor) -> None:
    if scores.ndim != 1 or len(scores) == 0:
        raise InputError(f"{name} must have shape (N,), N at least 1, not {tuple(scores.shape)}")
    if not scores.isfinite().all():
        raise InputError(f"{name} must be finite; found NaN or infinity")
