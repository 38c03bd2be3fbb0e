"""Attacks on classifiers and on what defends them: by name, and what adapts them to a purifier."""

from comdefend.attacks.adaptive import (
    STAND_INS,
    Expectation,
    check_stand_ins,
    hard_code,
    with_stand_in,
)
from comdefend.attacks.library import ATTACKS, Attack, perturb

__all__ = [
    "ATTACKS", "STAND_INS", "Attack", "Expectation", "check_stand_ins", "hard_code", "perturb",
    "with_stand_in",
]  # fmt: skip
