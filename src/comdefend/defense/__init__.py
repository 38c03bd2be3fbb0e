"""Purifiers in front of classifiers: ComDefend, and the defences to compare it with."""

from comdefend.defense.catalog import DEFENSES, load_defense
from comdefend.defense.defended import DefendedClassifier
from comdefend.defense.detection import (
    Detector,
    auroc,
    detection_threshold,
    movement,
    roc_curve,
)
from comdefend.defense.pixeldefend import PixelDefend
from comdefend.defense.randomized import Dithered, RandomRate
from comdefend.defense.transforms import (
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
    "Dithered",
    "GaussianNoise",
    "MedianSmoothing",
    "PixelDefend",
    "RandomRate",
    "ResizePad",
    "TotalVariation",
    "auroc",
    "detection_threshold",
    "is_random",
    "load_defense",
    "movement",
    "roc_curve",
]
