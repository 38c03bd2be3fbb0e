"""Attacks on classifiers and on what defends them, and how they are adapted to a purifier.

An attack on the bare classifier is oblivious; the same attack on a `DefendedClassifier` is
adaptive. An attack is one `Attack` record in a module of this package, listed in `registry`.
"""

from comdefend.attacks.adaptive import (
    STAND_INS,
    Expectation,
    check_stand_ins,
    hard_code,
    has_threshold,
    with_stand_in,
)
from comdefend.attacks.attack import (
    Attack,
    Budget,
    Settings,
    check_eps,
    check_settings,
    settings_of,
)
from comdefend.attacks.own import AttackFunction, from_callable
from comdefend.attacks.registry import ATTACKS, find_attack
from comdefend.attacks.run import run_attack

__all__ = [
    "ATTACKS",
    "STAND_INS",
    "Attack",
    "AttackFunction",
    "Budget",
    "Expectation",
    "Settings",
    "check_eps",
    "check_settings",
    "check_stand_ins",
    "find_attack",
    "from_callable",
    "hard_code",
    "has_threshold",
    "run_attack",
    "settings_of",
    "with_stand_in",
]
