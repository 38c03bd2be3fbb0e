"""Defences in front of classifiers: ComDefend, and those to compare it with.

A defence is one class in a module of this package, and one row in `registry`.
"""

from comdefend.defenses.bit_depth import BitDepth
from comdefend.defenses.checking import check_defense, check_own_defense
from comdefend.defenses.codec import JPEG, WebP
from comdefend.defenses.defended import DefendedClassifier
from comdefend.defenses.detection import (
    Detector,
    auroc,
    detection_threshold,
    movement,
    roc_curve,
)
from comdefend.defenses.median import MedianSmoothing
from comdefend.defenses.noise import GaussianNoise
from comdefend.defenses.pixeldefend import PixelDefend
from comdefend.defenses.randomized import dithered, random_rate
from comdefend.defenses.randomness import draws_at_random, is_random
from comdefend.defenses.registry import DEFENSES, load_defense
from comdefend.defenses.resize_pad import ResizePad
from comdefend.defenses.total_variation import TotalVariation

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
    "WebP",
    "auroc",
    "check_defense",
    "check_own_defense",
    "detection_threshold",
    "dithered",
    "draws_at_random",
    "is_random",
    "load_defense",
    "movement",
    "random_rate",
    "roc_curve",
]
