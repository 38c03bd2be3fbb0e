"""Attacks that step along the sign of the loss's gradient, by Foolbox."""

from typing import Any

from torch import Tensor, nn

from comdefend.attacks.attack import Attack, Budget
from comdefend.common.extras import require


def _fgsm(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    attack = _attacks().LinfFastGradientAttack()
    return _climb(attack, model, images, labels, budget)


def _bim(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    attack = _attacks().LinfBasicIterativeAttack(
        abs_stepsize=step_length(budget), steps=budget.steps, random_start=False
    )
    return _climb(attack, model, images, labels, budget)


def _pgd(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    attack = _attacks().LinfPGD(
        abs_stepsize=step_length(budget), steps=budget.steps, random_start=True
    )
    return _climb(attack, model, images, labels, budget)


def _mi_fgsm(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    # Foolbox sums the signs of gradients; the paper sums gradients divided by their L1 norm.
    attack = _attacks().LinfMomentumIterativeFastGradientMethod(
        momentum=1.0,
        abs_stepsize=step_length(budget, share=0),
        steps=budget.steps,
        random_start=False,
    )
    return _climb(attack, model, images, labels, budget)


FGSM = Attack(
    name="fgsm",
    title="FGSM",
    norm="Linf",
    kind="gradient",
    about="one step of eps along the gradient's sign (Goodfellow et al. 2015)",
    library="Foolbox",
    run=_fgsm,
    covered_by_pgd=True,
)
BIM = Attack(
    name="bim",
    title="BIM",
    norm="Linf",
    kind="gradient",
    steps=10,
    about="steps of eps/4 along the gradient's sign (Kurakin et al. 2017)",
    library="Foolbox",
    run=_bim,
    settings=("step_size",),
)
PGD = Attack(
    name="pgd",
    title="PGD",
    norm="Linf",
    kind="gradient",
    steps=20,
    about="steps of eps/4 from a random start (Madry et al. 2018)",
    library="Foolbox",
    run=_pgd,
    covered_by_pgd=True,
    settings=("step_size",),
    first_steps=3,
)
MI_FGSM = Attack(
    name="mi-fgsm",
    title="MI-FGSM",
    norm="Linf",
    kind="gradient",
    steps=10,
    about="steps of eps/steps with momentum 1 (Dong et al. 2018)",
    library="Foolbox",
    run=_mi_fgsm,
    settings=("step_size",),
)


def _attacks() -> Any:
    return require("foolbox", "demo").attacks


def step_length(budget: Budget, share: float = 0.25) -> float:
    """Return the length of a step, on the scale of the images.

    Args:
        budget: A given ``step_size`` is taken.
        share: Otherwise this share of eps, or more where the border would be out of reach.
    """
    if budget.step_size is not None:
        return budget.step_size / 255
    return max(share, 1 / budget.steps) * budget.bound


def _climb(attack: Any, model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    foolbox = require("foolbox", "demo")
    target = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
    # Not attack(...): that looks at the result once more, half as much again for a single step.
    attacked = attack.run(
        target, images, foolbox.criteria.Misclassification(labels), epsilon=budget.bound
    )
    return images + (attacked - images).clamp(-budget.bound, budget.bound)
