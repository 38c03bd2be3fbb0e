"""Attacks that look for the smallest change in L2 that misleads the model, by Foolbox."""

from typing import Any

import torch
from torch import Tensor, nn

from comdefend.attacks.attack import Attack, Budget
from comdefend.common.extras import require


def _deepfool(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    attacks = require("foolbox", "demo").attacks
    overshoot = 0.02 if budget.overshoot is None else budget.overshoot
    attack = attacks.L2DeepFoolAttack(steps=budget.steps, overshoot=overshoot)
    return _search(attack, model, images, labels)


def _carlini_wagner(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    # The library's step size of 0.01 is too small for so few steps: black pixels lie far out in
    # the space that is searched. Five searches raise the constant to 1000 at most.
    attack = require("foolbox", "demo").attacks.L2CarliniWagnerAttack(
        binary_search_steps=5, steps=budget.steps, stepsize=0.1, initial_const=0.1,
        confidence=budget.confidence or 0,
    )  # fmt: skip
    return _search(attack, model, images, labels)


DEEPFOOL = Attack(
    name="deepfool",
    title="DeepFool",
    norm="L2",
    kind="gradient",
    steps=50,
    about="steps to the nearest linearised decision boundary (Moosavi-Dezfooli et al. 2016)",
    library="Foolbox",
    run=_deepfool,
    settings=("overshoot",),
)
CARLINI_WAGNER = Attack(
    name="cw",
    title="C&W",
    norm="L2",
    kind="gradient",
    steps=100,
    about="Adam on margin and size, five searches for their balance (Carlini and Wagner 2017)",
    library="Foolbox",
    run=_carlini_wagner,
    settings=("confidence",),
)


def _search(attack: Any, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    target = require("foolbox", "demo").PyTorchModel(model, bounds=(0, 1), device=images.device)
    attacked, _, _ = attack(target, images, labels, epsilons=None)
    # Foolbox's C&W returns a black image where it fails, which may be misclassified as well.
    failed = (attacked == 0).flatten(1).all(1)
    return torch.where(failed.view(-1, 1, 1, 1), images, attacked)
