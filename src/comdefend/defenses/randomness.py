"""Whether a defence is random, which attacks and verdicts must take into account."""

from torch import nn


def is_random(module: nn.Module) -> bool:
    """Return whether a module, or one inside it, draws its output at random.

    A module says so by an attribute ``random`` that is True; one without it counts as
    deterministic.
    """
    return any(getattr(part, "random", False) is True for part in module.modules())
