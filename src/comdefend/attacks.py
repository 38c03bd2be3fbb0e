"""Attacks by name, from Foolbox.

An attack on the bare classifier is oblivious; the same attack on a `DefendedClassifier` is
adaptive.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from comdefend.errors import InputError
from comdefend.extras import require

ATTACKS: dict[str, Callable[[Any, int], Any]] = {
    # Goodfellow et al. 2015: one step of eps along the gradient's sign.
    "fgsm": lambda attacks, steps: attacks.LinfFastGradientAttack(),
    # Madry et al. 2018: steps of eps/4 from a random start, projected back into the ball.
    "pgd": lambda attacks, steps: attacks.LinfPGD(
        rel_stepsize=max(0.25, 1 / steps), steps=steps, random_start=True
    ),
}
"""Name -> maker of the Foolbox attack, given Foolbox's attacks and a number of steps."""


def perturb(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: str,
    eps: float,
    steps: int = 20,
    seed: int = 0,
) -> Tensor:
    """Attack a model and return adversarial images as an 8-bit file would hold them.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) the true classes.
        attack: A name of `ATTACKS`.
        eps: Bound of the perturbation's largest value, in units of 1/255.
        steps: Steps of an iterative attack.
        seed: Seed of random starts.

    Returns:
        (N, C, H, W) in [0, 1], multiples of 1/255, within ``eps`` of 8-bit images.

    Raises:
        InputError: Unknown attack, bad eps or steps, or a model in training mode.
    """
    if attack not in ATTACKS:
        raise InputError(f"unknown attack '{attack}'; known: {', '.join(ATTACKS)}")
    if not 0 < eps <= 255:
        raise InputError(f"eps is in units of 1/255 and must be above 0 and at most 255: {eps:g}")
    if steps < 1:
        raise InputError(f"steps must be at least 1: {steps}")
    if model.training:
        raise InputError("the model is in training mode; call its eval() first")
    foolbox = require("foolbox", "demo")
    runner = ATTACKS[attack](foolbox.attacks, steps)
    with _frozen(model), torch.random.fork_rng():
        torch.manual_seed(seed)
        attacked = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
        _, found, _ = runner(attacked, images, labels, epsilons=eps / 255)
    return (found.detach() * 255).round() / 255


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Attacks need gradients of images alone; those of weights would double the work."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
