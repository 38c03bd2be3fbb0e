"""Classifiers: opened by name, checked, and their checkpoints."""

from comdefend.classifiers.checking import check_classifier
from comdefend.classifiers.names import match_to_classifier
from comdefend.classifiers.normalized import Normalized
from comdefend.classifiers.opening import CLASSIFIERS, known_preprocessing, open_classifier
from comdefend.classifiers.preprocessing import Preprocessing
from comdefend.classifiers.spec import ClassifierSpec, as_spec

__all__ = [
    "CLASSIFIERS",
    "ClassifierSpec",
    "Normalized",
    "Preprocessing",
    "as_spec",
    "check_classifier",
    "known_preprocessing",
    "match_to_classifier",
    "open_classifier",
]
