"""Purifiers in front of classifiers: ComDefend, and the defences to compare it with."""

from comdefend.defenses.catalog import DEFENSES, load_defense
from comdefend.defenses.defended import DefendedClassifier
from comdefend.defenses.detection import (
    Detector,
    auroc,
    detection_threshold,
    movement,
    roc_curve,
)
from comdefend.defenses.pixeldefend import PixelDefend
from comdefend.defenses.randomized import dithered, random_rate
from comdefend.defenses.transforms import (
    JPEG,
    BitDepth,
    GaussianNoise,
    MedianSmoothing,
    ResizePad,
    TotalVariation,
    is_random,
)

__all__ = [
    "DEFENSES",
    "JPEG",
    "BitDepth",
    "DefendedClassifier",
    "Detector",
    "GaussianNoise",
    "MedianSmoothing",
    "PixelDefend",
    "ResizePad",
    "TotalVariation",
    "auroc",
    "detection_threshold",
    "dithered",
    "is_random",
    "load_defense",
    "movement",
    "random_rate",
    "roc_curve",
]
