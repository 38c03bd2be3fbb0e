"""How an adaptive attacker handles a purifier with a useless or random gradient.

Both ways are from Athalye, Carlini and Wagner, "Obfuscated Gradients Give a False Sense of
Security" (ICML 2018): BPDA, a stand-in for a gradient that is 0 (Section 4.1), and EOT, the
expectation over random draws (Section 4.2).
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from comdefend.errors import InputError, InputTypeError
from comdefend.nn.binarize import Threshold, threshold
from comdefend.nn.gradient import is_differentiated
from comdefend.nn.purifier import ComDefend

# Number of draws that "noisy" averages in one pass.
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
"""Name -> function of the logits and the phi of the purifier that returns the slope."""

STAND_INS: tuple[str, ...] = ("identity", *_SLOPES)
"""Stand-ins for the gradient of the hard threshold, which is 0 everywhere.

The threshold itself stays as it is. Only the gradient that passes backwards through it changes,
from d to d times a factor that depends on the logit z:

- ``identity``: 1, straight through. All bits count alike, even those that no small change of the
  image would flip.
- ``sigmoid-T`` for T = 1, 10, 100: s(z/T) * s(-z/T) with the sigmoid s, the derivative of
  T * s(z/T). Bits count more the nearer they are to flipping. Because of the factor T the slope at
  the threshold is 1/4 for every T. The gradient of s(z/T) itself would shrink with T, which does
  not matter to attacks that take signs, but does to DeepFool and C&W.
- ``noisy``: the expectation over n ~ N(0, phi^2) of s(z - n) * s(n - z), the derivative of the
  training code. It is the mean of 20 draws, new in every pass, from torch's global generator.

The factor falls as exp(-|z|/T) and underflows to 0 in float32 near |z| = 100 T. The training noise
pushes |z| outwards; in the shipped weights most are above 40 (see their cards). At T = 1 such a bit
counts almost nothing, and nothing at all beyond 100. Only the few bits near the threshold remain;
a pixel that reaches none of them has gradient 0, and attacks that take signs do not change it. An
attack that fails for this reason has used a poor stand-in and has not met a defence: try several,
and believe the strongest. At T = 10 no bit with |z| below 1000 is lost, though those above 100
count little; at T = 100 nearly all bits count. As T grows the factor approaches 1/4 everywhere,
which is the identity again. A single draw of ``noisy`` is as narrow as T = 1; the mean over draws
is about 3 phi wide.
"""


class StandIn(Threshold):
    """A `Threshold` with another gradient in evaluation mode.

    Args:
        name: One of `STAND_INS`.
        phi: Standard deviation of the training noise.
    """

    def __init__(self, name: str, phi: float) -> None:
        super().__init__(phi)
        check_stand_ins((name,))
        self.name = name

    def hard(self, logits: Tensor) -> Tensor:
        """Return the code of evaluation mode, with the gradient of the stand-in."""
        return hard_code(logits, self.name, self.phi)

    def extra_repr(self) -> str:
        """Return the parameters."""
        return f"{self.name}, {super().extra_repr()}"


def check_stand_ins(names: Sequence[str]) -> None:
    """Check names of stand-ins.

    Raises:
        InputError: One is not in `STAND_INS`.
    """
    if unknown := [name for name in names if name not in STAND_INS]:
        raise InputError(f"unknown stand-ins {unknown}; known: {', '.join(STAND_INS)}")


def with_stand_in(purifier: nn.Module, name: str) -> nn.Module:
    """Return a purifier with the same output and another gradient, to attack through.

    Args:
        purifier: In evaluation mode. Stand-ins other than "identity" need a `ComDefend` that is
            binarized by a `Threshold`, or a module with one in it.
        name: One of `STAND_INS`; "identity" returns the purifier itself, which already passes
            gradients straight through.

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
    if not has_threshold(purifier):
        raise InputError(
            f"stand-in '{name}' replaces the gradient of ComDefend's threshold; "
            f"{type(purifier).__name__} has only 'identity'"
        )
    return _replaced(purifier, name)


def has_threshold(purifier: nn.Module) -> bool:
    """Return whether a module is or holds a `ComDefend` with a threshold to replace."""
    return any(
        isinstance(part, ComDefend) and any(isinstance(b, Threshold) for b in part.modules())
        for part in purifier.modules()
    )


def hard_code(logits: Tensor, stand_in: str, phi: float) -> Tensor:
    """Return the hard code, 1 where z > 0 and else 0, with the gradient of a stand-in.

    Args:
        logits: z, any shape, finite.
        stand_in: One of `STAND_INS`.
        phi: Standard deviation of the training noise, which only "noisy" needs.
    """
    if stand_in == "identity":
        return threshold(logits)
    code = (logits > 0).to(logits.dtype)
    if is_differentiated(logits):
        factor = _SLOPES[stand_in](logits.detach(), phi)
        # logits - logits is exactly 0, so the values of the code remain 0 and 1.
        code = code + factor * (logits - logits.detach())
    return code


class Expectation(nn.Module):
    """The mean of a random model's logits over several draws, and so of their gradients (EOT).

    For attacks on random defences, where the gradient of a single draw is mostly noise. Each draw
    is a separate pass, and a gradient holds all of them in memory. AutoAttack's version "rand"
    averages by itself.

    Args:
        model: Images to logits (N, classes), with a new draw in every pass.
        draws: Number of passes to average over, at least 1.

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
        # PyTorch starts modules in training mode; this one takes the mode of its model.
        self.training = model.training

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean logits: (N, C, H, W) in [0, 1] -> (N, classes)."""
        return torch.stack([self.model(images) for _ in range(self.draws)]).mean(0)


def _replaced(module: nn.Module, name: str) -> nn.Module:
    """Return a module that shares everything with another but its thresholds' gradient."""
    if isinstance(module, ComDefend):
        return module.with_binarizer(_with_threshold(module.binarizer, name))
    shared = copy.copy(module)
    shared._modules = {
        child: part if part is None else _replaced(part, name)
        for child, part in module._modules.items()
    }
    return shared


def _with_threshold(binarizer: nn.Module, name: str) -> nn.Module:
    """Return a copy of a binarizer with a stand-in for the `Threshold` inside."""
    if isinstance(binarizer, Threshold):
        return StandIn(name, binarizer.phi)
    replaced = copy.deepcopy(binarizer)
    for child, part in binarizer.named_children():
        setattr(replaced, child, _with_threshold(part, name))
    return replaced


def _check_module(name: str, module: object) -> None:
    if not isinstance(module, nn.Module):
        raise InputTypeError(f"{name} must be an nn.Module, not {type(module).__name__}")
