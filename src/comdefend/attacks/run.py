"""Running an attack on a batch of images.

Gradient attacks return each image where they ended, misclassified or not. Query attacks and
AutoAttack return the clean image where they fail within eps; C&W does so where it fails altogether.

Attacks of norm L2 look for the smallest change, and without eps return it at any size. With eps,
each value of the change is clipped to eps, as the ComDefend paper states DeepFool and C&W at eps 2,
8 and 16. Clipping weakens these attacks: an image just past the decision boundary falls back behind
it. An L-infinity attack of the same eps is the stronger test. Rounding to 8 bits can undo a minimal
L2 change in the same way, as most of its values are below 1/255.

HopSkipJump takes thousands of queries per image with its 15 steps, and memory for several hundred
copies of the images; Square takes one query per step. AutoAttack leaves out the parts whose loss
needs more classes than the model has (targeted APGD below four, APGD-DLR below three), and warns
through the logger "auto-attack" about models that it may misjudge.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from comdefend.attacks.attack import Attack, Budget, check_eps, check_settings
from comdefend.attacks.registry import find_attack
from comdefend.errors import InputError, InputTypeError


def run_attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: str | Attack,
    eps: float | None = None,
    steps: int | None = None,
    *,
    step_size: float | None = None,
    confidence: float | None = None,
    overshoot: float | None = None,
    seed: int = 0,
    random: bool = False,
    rounded: bool = True,
) -> Tensor:
    """Attack a model and return the attacked images: see this module for how attacks differ.

    Args:
        model: Images in [0, 1] to logits (N, classes), in evaluation mode.
        images: (N, C, H, W) float in [0, 1].
        labels: (N,) int64, the true classes. Misclassified images are attacked like all others.
        attack: A name of `ATTACKS`, ``package.module:function``, or an `Attack`.
        eps: Bound of the largest change of a value, in units of 1/255, from 0.5 to 255. Needed for
            attacks of norm Linf.
        steps: Steps of an iterative attack, by default the attack's own; attacks without steps
            ignore it.
        step_size, confidence, overshoot: As `Settings` says, for attacks that take them; by
            default the attack's own.
        seed: The seed of everything random, including what the model draws from torch's global
            generator, which is left as it was.
        random: The model's answers are random: AutoAttack then takes its version "rand", which
            averages gradients over 20 draws. For other attacks, see `Expectation`.
        rounded: Round to 8 bits, to see what survives in an image file; False measures the attack
            itself.

    Returns:
        (N, C, H, W) in [0, 1]. When rounded, multiples of 1/255, and within a whole eps of 8-bit
        images.

    Raises:
        InputError: Unknown attack, bad eps, steps or settings, a model in training mode, images or
            labels of the wrong shape or range, or HopSkipJump on a model with random answers.
        InputTypeError: The model is not an ``nn.Module``, the images are not float, or the labels
            not int64.
        ExtraMissingError: The attack's library is not installed.
    """
    attack = find_attack(attack) if isinstance(attack, str) else attack
    steps = attack.steps or 1 if steps is None else steps
    budget = Budget(
        eps=eps, steps=steps, step_size=step_size, confidence=confidence, overshoot=overshoot,
        seed=seed, random=random,
    )  # fmt: skip
    _check_budget(attack, budget)
    _check_model(model)
    _check_images(images, labels)
    # Validation loops run in inference mode, in which nothing has a gradient.
    with torch.inference_mode(False), torch.enable_grad(), _frozen(model), torch.random.fork_rng():
        images, labels = (t.clone() if t.is_inference() else t.detach() for t in (images, labels))
        torch.manual_seed(seed)
        attacked = attack.run(model, images, labels, budget).detach()
        if attack.norm == "L2":
            attacked = attacked.clamp(images - budget.bound, images + budget.bound)
    attacked = attacked.clamp(0, 1)
    return (attacked * 255).round() / 255 if rounded else attacked


def _check_budget(attack: Attack, budget: Budget) -> None:
    if budget.eps is not None:
        check_eps(budget.eps)
    elif attack.norm == "Linf":
        raise InputError(f"{attack.name} needs eps, the bound of each change in units of 1/255")
    if budget.steps < 1:
        raise InputError(f"steps must be at least 1: {budget.steps}")
    check_settings(attack, budget)
    size = budget.step_size
    if size is not None and budget.eps is not None and budget.steps * size < budget.eps / 4:
        raise InputError(
            f"step_size is in units of 1/255: {budget.steps} steps of {size:g} hardly move within "
            f"eps {budget.eps:g}"
        )


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise InputTypeError(f"the model must be an nn.Module, not {type(model).__name__}")
    if model.training:
        raise InputError("the model is in training mode; call its eval() first")


def _check_images(images: Tensor, labels: Tensor) -> None:
    if not images.is_floating_point():
        raise InputTypeError(f"images: must be float, not {images.dtype}")
    if images.ndim != 4 or images.numel() == 0:
        raise InputError(
            f"images: must have shape (N, C, H, W), not empty, and not {tuple(images.shape)}"
        )
    low, high = (value.item() for value in images.detach().aminmax())
    if not (low >= 0 and high <= 1):
        raise InputError(f"images: must lie in [0, 1] without NaN, found {low:.4g} to {high:.4g}")
    if labels.dtype != torch.int64:
        raise InputTypeError(f"labels: must be int64, not {labels.dtype}")
    if labels.shape != images.shape[:1]:
        raise InputError(f"labels: must have shape ({len(images)},), not {tuple(labels.shape)}")


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Leave the weights out of all gradients: attacks need those of images alone."""
    trained = [p for p in model.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
