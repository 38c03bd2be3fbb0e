"""Detecting attacked images by how far the prediction moves under purification.

A clean image and its purified version should be classified alike; a perturbation that purification
removes shows as a change of the prediction (Xu et al. 2018, Section V). An attacker who knows about
the detector can avoid it.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from comdefend.defenses.defended import DefendedClassifier
from comdefend.errors import InputError, InputTypeError

# Enough images to keep a processor busy, few enough for a purifier's memory.
_BATCH = 32


def movement(before_logits: Tensor, after_logits: Tensor) -> Tensor:
    """Return how far each prediction moved: the L1 distance of the softmaxes.

    The score of Xu et al. 2018, Section V. Differentiable.

    Args:
        before_logits: (N, classes) of the original images.
        after_logits: (N, classes) of the purified images.

    Returns:
        (N,) in [0, 2]: 0 where nothing moved, 2 where one certain class became another.

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

    It is the probability that an attacked image scores above a clean one; ties count one half.

    Args:
        clean_scores: (N,).
        attacked_scores: (M,).

    Raises:
        InputError: One of them is empty, not of shape (N,), or not finite.
    """
    clean, attacked = _sorted(clean_scores, attacked_scores)
    below = torch.searchsorted(clean, attacked)
    not_above = torch.searchsorted(clean, attacked, right=True)
    return ((below + not_above).double().mean() / (2 * len(clean))).item()


def roc_curve(clean_scores: Tensor, attacked_scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ROC curve, from (0, 0) to (1, 1), with a point for each distinct score.

    Args:
        clean_scores: (N,).
        attacked_scores: (M,).

    Returns:
        False positive rates and true positive rates, both ascending and of equal length.

    Raises:
        InputError: One of them is empty, not of shape (N,), or not finite.
    """
    clean, attacked = _sorted(clean_scores, attacked_scores)
    thresholds = torch.cat([clean, attacked]).unique().flip(0)

    def share_from(scores: Tensor) -> Tensor:
        """Return the share of scores at or above each threshold, and 0 before the first."""
        counts = len(scores) - torch.searchsorted(scores, thresholds)
        return torch.cat([torch.zeros(1), counts / len(scores)])

    return share_from(clean), share_from(attacked)


@dataclass(frozen=True)
class Detector:
    """Flags an image if purification moves its prediction further than a threshold.

    Args:
        defended: The classifier and the purifier, in evaluation mode.
        threshold: Scores above it are flagged; `calibrate` sets it.

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
            images: (N, C, H, W) in [0, 1], clean; not those on which the detector is measured.
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


def _sorted(clean_scores: Tensor, attacked_scores: Tensor) -> tuple[Tensor, Tensor]:
    _check_scores("clean_scores", clean_scores)
    _check_scores("attacked_scores", attacked_scores)
    clean, attacked = clean_scores.detach().cpu().double(), attacked_scores.detach().cpu().double()
    return clean.sort().values, attacked.sort().values


def _check_scores(name: str, scores: Tensor) -> None:
    if scores.ndim != 1 or len(scores) == 0:
        raise InputError(f"{name} must have shape (N,), N at least 1, not {tuple(scores.shape)}")
    if not scores.isfinite().all():
        raise InputError(f"{name} must be finite; not NaN or infinity")
