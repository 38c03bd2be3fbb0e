"""How well attacked images are told from clean ones by how far purification moves predictions."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from comdefend.defenses.detection import auroc, detection_threshold, movement, roc_curve
from comdefend.nn.batches import apply

# Share of clean images that a detector may flag.
FALSE_POSITIVES = 0.05

DETECTED_IMAGES = 4
"""Fewest images to detect: half of them set the threshold, and of two images no share is one."""


def detection_statistics(
    classifier: nn.Module, purify: Callable[[Tensor], Tensor], images: Tensor, attacked: Tensor
) -> dict[str, Any]:
    """Return what a detector does: its area under the ROC curve, and one threshold.

    The threshold is set on the first half of the clean images; everything is measured on the
    second.

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
    clean, found = clean_scores[half:], attacked_scores[half:]
    fpr, tpr = roc_curve(clean, found)
    return {
        "auroc": auroc(clean, found),
        "false_positive_rate": FALSE_POSITIVES,
        "threshold": threshold,
        "false_positives": (clean > threshold).float().mean().item(),
        "detected": (found > threshold).float().mean().item(),
        "fpr": [round(x, 4) for x in fpr.tolist()],
        "tpr": [round(x, 4) for x in tpr.tolist()],
    }
