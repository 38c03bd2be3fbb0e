"""What an adaptive attacker does about a purifier whose gradient is useless or random.

Both from Athalye, Carlini and Wagner, "Obfuscated Gradients Give a False Sense of Security"
(ICML 2018): BPDA, another gradient for what has none (Section 4.1), and EOT, the expectation over
what is random (Section 4.2).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from comdefend.errors import InputError, InputTypeError
from comdefend.nn.binarize import threshold
from comdefend.nn.purifier import ComDefend

# Draws that "noisy" averages in one pass.
_NOISE_DRAWS = 20


def _sigmoid_slope(logits: Tensor) -> Tensor:
    # Not s * (1 - s): from z = 17 on, 1 - s is 0 in float32.
    return torch.sigmoid(logits) * torch.sigmoid(-logits)


def _expected_slope(logits: Tensor, phi: float) -> Tensor:
    # The gradient is linear in the slope: averaging slopes averages gradients, in a single pass.
    draws = (_sigmoid_slope(logits - phi * torch.randn_like(logits)) for _ in range(_NOISE_DRAWS))
    return sum(draws, torch.zeros_like(logits)) / _NOISE_DRAWS


_SLOPES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "sigmoid-1": lambda logits, phi: _sigmoid_slope(logits),
    "sigmoid-10": lambda logits, phi: _sigmoid_slope(logits / 10),
    "sigmoid-100": lambda logits, phi: _sigmoid_slope(logits / 100),
    "noisy": lambda logits, phi: _expected_slope(logits, phi),
}
"""Name -> slope at the logits, given them and the phi of the purifier's training."""

STAND_INS: tuple[str, ...] = ("identity", *_SLOPES)
"""What takes the place of the hard threshold's gradient, which is 0 everywhere.

The threshold itself stays as it is; only the gradient that goes backwards through it changes, from
d to d times a factor of each logit z:

- ``identity``: 1, straight through. Counts all bits alike, also those that no small change of the
  image would flip.
- ``sigmoid-T`` for T = 1, 10, 100: s(z/T) * s(-z/T) with the sigmoid s, which is the derivative of
  T * s(z/T). Counts bits by how near they are to flipping. Times T, so that the factor is 1/4 at
  the threshold whatever T is: s(z/T) itself would make gradients smaller with T, which matters
  not to attacks that take signs, but to DeepFool and C&W.
- ``noisy``: the expectation of s(z - n) * s(n - z), the derivative of the code of training, over
  n ~ N(0, phi^2): the mean of 20 draws, new ones in every pass, from torch's global generator.

The factor falls as exp(-|z|/T) and underflows to 0 in float32 near |z| = 100 T. The noise of
training pushes |z| outwards; in the shipped weights most are above 40, as their cards say. At T = 1
such a bit counts next to nothing or, beyond 100, nothing at all, and the few near the threshold
are left; a pixel that reaches none of them has
gradient 0, and attacks that take signs do not change it. An attack that fails so has met a poor
stand-in, no defence: try several, and believe the strongest. At T = 10 no bit below 1000 is lost,
though those above 100 count little; at T = 100 nearly all count. With growing T the factor becomes
1/4 everywhere, which is the identity again. ``noisy`` is as narrow as T = 1 in a single draw;
averaged over draws it is about 3 phi wide.
"""


def check_stand_ins(names: Sequence[str]) -> None:
    """Check that all are of `STAND_INS`.

    Raises:
        InputError: One is not.
    """
    if unknown := [name for name in names if name not in STAND_INS]:
        raise InputError(f"unknown stand-ins {unknown}; known: {', '.join(STAND_INS)}")


def with_stand_in(purifier: nn.Module, name: str) -> nn.Module:
    """Return a purifier with the same output and another gradient, to attack through.

    Args:
        purifier: In evaluation mode. Only a `ComDefend`, or an ``nn.Sequential`` with one in it,
            has stand-ins other than "identity".
        name: One of `STAND_INS`; "identity" returns the purifier, which passes gradients straight
            through as it is.

    Returns:
        A module that shares the purifier's weights: images (N, C, H, W) in [0, 1] to the same.

    Raises:
        InputError: Unknown name, a stand-in that this purifier does not have, or training mode.
        InputTypeError: The purifier is not an ``nn.Module``.
    """
    _check_module("purifier", purifier)
    check_stand_ins((name,))
    if purifier.training:
        raise InputError("the purifier is in training mode; call its eval() first")
    if name == "identity":
        return purifier
    if isinstance(purifier, nn.Sequential) and any(map(_has_stand_ins, purifier)):
        parts = (with_stand_in(p, name) if _has_stand_ins(p) else p for p in purifier)
        return nn.Sequential(*parts).eval()
    if not isinstance(purifier, ComDefend):
        raise InputError(
            f"stand-in '{name}' replaces the gradient of ComDefend's threshold; "
            f"{type(purifier).__name__} has only 'identity'"
        )
    return _StandIn(purifier, name)


def hard_code(logits: Tensor, stand_in: str, phi: float) -> Tensor:
    """Return the code of use, 1 where z > 0 and else 0, with the gradient of a stand-in.

    Args:
        logits: z, any shape, finite.
        stand_in: One of `STAND_INS`.
        phi: Of the purifier's training; "noisy" alone asks for it.
    """
    if stand_in == "identity":
        return threshold(logits)
    code = (logits > 0).to(logits.dtype)
    if logits.requires_grad:
        factor = _SLOPES[stand_in](logits.detach(), phi)
        # logits - logits is 0 exactly, so the code remains one of 0 and 1.
        code = code + factor * (logits - logits.detach())
    return code


class Expectation(nn.Module):
    """The mean of a random model's logits over several draws, and so of their gradients (EOT).

    For attacks on a defence that is random: a gradient of one draw is mostly noise. Every draw is
    a pass of its own, and a gradient holds all of them in memory. AutoAttack's version "rand"
    averages by itself.

    Args:
        model: Images to logits (N, classes), drawing anew in every pass.
        draws: Passes to average over, at least 1.

    Raises:
        InputError: ``draws`` is below 1.
        InputTypeError: The model is not an ``nn.Module``.
    """

    model: nn.Module

    def __init__(self, model: nn.Module, draws: int) -> None:
        super().__init__()
        _check_module("model", model)
        if draws < 1:
            raise InputError(f"draws must be at least 1: {draws}")
        self.model = model
        self.draws = draws
        # A module is born in training mode; this one is what its model is.
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean logits: (N, C, H, W) in [0, 1] -> (N, classes)."""
        return torch.stack([self.model(images) for _ in range(self.draws)]).mean(0)


class _StandIn(nn.Module):
    """A `ComDefend` in evaluation mode whose threshold has another gradient."""

    def __init__(self, purifier: ComDefend, name: str) -> None:
        super().__init__()
        self.purifier = purifier
        self.name = name
        self.training = purifier.training

    def forward(self, images: Tensor) -> Tensor:
        code = hard_code(self.purifier.logits(images), self.name, self.purifier.config.phi)
        return self.purifier.decode(code, size=(images.shape[-2], images.shape[-1]))


def _has_stand_ins(module: nn.Module) -> bool:
    return isinstance(module, ComDefend)


def _check_module(name: str, module: object) -> None:
    if not isinstance(module, nn.Module):
        raise InputTypeError(f"{name} must be an nn.Module, not {type(module).__name__}")
