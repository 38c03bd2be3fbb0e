"""Classifiers: opened by name, checked, and their checkpoints."""

from comdefend.classifiers.checking import check_classifier
from comdefend.classifiers.names import checkpoint_class_names
from comdefend.classifiers.normalized import Normalized
from comdefend.classifiers.opening import CLASSIFIERS, open_classifier

__all__ = [
    "CLASSIFIERS",
    "Normalized",
    "check_classifier",
    "checkpoint_class_names",
    "open_classifier",
]
