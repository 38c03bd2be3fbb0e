"""Attacks on classifiers and on what defends them, and how they are adapted to a purifier.

An attack on the bare classifier is oblivious; the same attack on a `DefendedClassifier` is
adaptive. An attack is one `Attack` record in a module of this package, listed in `registry`.
"""

from comdefend.attacks.adaptive import (
    STAND_INS,
    Expectation,
    check_stand_ins,
    hard_code,
    with_stand_in,
)
from comdefend.attacks.attack import Attack, Budget, check_eps
from comdefend.attacks.own import from_callable
from comdefend.attacks.registry import ATTACKS, find_attack
from comdefend.attacks.run import run_attack

__all__ = [
    "ATTACKS",
    "STAND_INS",
    "Attack",
    "Budget",
    "Expectation",
    "check_eps",
    "check_stand_ins",
    "find_attack",
    "from_callable",
    "hard_code",
    "run_attack",
    "with_stand_in",
]
