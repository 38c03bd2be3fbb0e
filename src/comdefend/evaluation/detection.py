"""Detecting attacked images by how far purification moves the prediction."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from comdefend.defenses.detection import auroc, detection_threshold, movement, roc_curve
from comdefend.nn.batches import apply

FALSE_POSITIVES = 0.05
"""Share of clean images that the detector may flag."""

DETECTED_IMAGES = 4
"""Fewest images to measure on: half of them set the threshold."""


def detection_statistics(
    classifier: nn.Module, purify: Callable[[Tensor], Tensor], images: Tensor, attacked: Tensor
) -> dict[str, Any]:
    """Return the area under the ROC curve, and how one threshold performs.

    The threshold is set on the first half of the clean images; everything is measured on the
    second half.

    Args:
        classifier: Images in [0, 1] to logits.
        purify: Images to images.
        images: (N, C, H, W) in [0, 1], clean.
        attacked: The first M of them, attacked; at least two.
    """
    clean_scores, attacked_scores = (
        movement(apply(classifier, x), apply(classifier, purify(x))) for x in (images, attacked)
    )
    half = len(attacked) // 2
    threshold = detection_threshold(clean_scores[:half], FALSE_POSITIVES)
    clean, attacked_rest = clean_scores[half:], attacked_scores[half:]
    fpr, tpr = roc_curve(clean, attacked_rest)
    return {
        "auroc": auroc(clean, attacked_rest),
        "false_positive_rate": FALSE_POSITIVES,
        "threshold": threshold,
        "false_positives": (clean > threshold).float().mean().item(),
        "detected": (attacked_rest > threshold).float().mean().item(),
        "fpr": [round(x, 4) for x in fpr.tolist()],
        "tpr": [round(x, 4) for x in tpr.tolist()],
    }
