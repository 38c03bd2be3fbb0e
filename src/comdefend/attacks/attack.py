"""What an attack is: a record that says what it does, what it needs and how to run it."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from torch import Tensor, nn

from comdefend.errors import InputError

# Other libraries count in [0, 1], where 8/255 is 0.03; nothing this small is meant in our units.
_SMALLEST_EPS = 0.5


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How an attack is made that can be made in several ways; None for the attack's own way.

    Attributes:
        step_size: Length of a step in units of 1/255.
        confidence: The wrong class must be ahead of the true one by so much, in logits (kappa of
            Carlini and Wagner 2017).
        overshoot: Go beyond the decision boundary by this share of the way there
            (Moosavi-Dezfooli et al. 2016).
    """

    step_size: float | None = None
    confidence: float | None = None
    overshoot: float | None = None


def settings_of(made: Settings) -> dict[str, Any]:
    """Return the settings of whatever has them, those that are the attack's own left out."""
    values = {name: getattr(made, name) for name in Settings.__struct_fields__}
    return {name: value for name, value in values.items() if value is not None}


class Budget(Settings, frozen=True, kw_only=True):
    """What one run of an attack may spend, and how it is made.

    Attributes:
        eps: Bound of the largest change of a value, in units of 1/255; None if there is none.
        steps: At least 1; attacks without steps ignore it.
        seed: The seed of everything random. torch's global generator is seeded with it already.
        random: The model's answers are random.
    """

    eps: float | None = None
    steps: int = 1
    seed: int = 0
    random: bool = False

    @property
    def bound(self) -> float:
        """``eps`` on the scale of the images; 1 without eps, as images lie in [0, 1]."""
        return 1.0 if self.eps is None else self.eps / 255


Run = Callable[[nn.Module, Tensor, Tensor, Budget], Tensor]
"""Attacks a model on images (N, C, H, W) in [0, 1] with their labels (N,), and returns images.

`run_attack` does the rest: it checks all arguments, seeds torch's generator, freezes the model's
weights and clips the result to [0, 1], and that of an L2 attack to the bound.
"""


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """An attack and the care that it needs.

    Attributes:
        name: What commands, experiments and records call it.
        title: What tables and figures call it.
        norm: "Linf" stays within eps; "L2" looks for the smallest change that misleads the model.
        kind: "gradient" needs gradients, "query" only the model's answers; an "ensemble" uses both.
        steps: Default number of steps; None if the attack has none.
        about: What it does, in a phrase, and the paper.
        library: Which library runs it; empty for a user's own.
        extra: The extra that installs its library, where ``evaluate`` does not.
        run: How to run it.
        settings: Which of `Settings` it takes.
        first_steps: Try this few steps first: most images fall to them, and only the others need
            all steps. None to take all steps at once.
        in_pieces: So slow on a processor that an evaluation should store finished pieces.
        deterministic_only: It walks along the decision boundary, which a random model lacks.
        averages: It averages over a random model's draws itself.
        covered_by_pgd: PGD of as many steps finds all that it finds.
        fingerprint: What results depend on besides the name: for a user's function a hash of its
            source and weights.
    """

    name: str
    title: str
    norm: Literal["Linf", "L2"]
    kind: Literal["gradient", "query", "ensemble"]
    about: str
    run: Run
    library: str = ""
    extra: str = ""
    steps: int | None = None
    settings: tuple[str, ...] = ()
    first_steps: int | None = None
    in_pieces: bool = False
    deterministic_only: bool = False
    averages: bool = False
    covered_by_pgd: bool = False
    fingerprint: str = ""


def check_settings(attack: Attack, made: Settings) -> None:
    """Check that an attack can be made in the way that is asked for.

    Raises:
        InputError: It takes no such setting, or the value is out of range.
    """
    for name, value in settings_of(made).items():
        if name not in attack.settings:
            raise InputError(f"{attack.name} takes no {name}")
        if name == "step_size":
            if not 0 < value <= 255:
                raise InputError(
                    f"step_size is in units of 1/255, above 0 and at most 255: {value:g}"
                )
        elif not 0 <= value < float("inf"):
            raise InputError(f"{name} must be a number from 0: {value:g}")


def check_eps(eps: float, name: str = "eps") -> None:
    """Check that a bound is in units of 1/255.

    Args:
        eps: The bound.
        name: What the message calls it.

    Raises:
        InputError: It is not above 0 and at most 255, or so small that it must be on the scale of
            [0, 1].
    """
    if not 0 < eps <= 255:
        raise InputError(f"{name} is in units of 1/255, above 0 and at most 255: {eps:g}")
    if eps < _SMALLEST_EPS:
        raise InputError(
            f"{name} is in units of 1/255, and {eps:g} is too small; for {eps:g} on the scale of "
            f"[0, 1] write {eps * 255:.4g}"
        )
