"""Attacks along the gradient's sign that leave an image as soon as it is misclassified.

So did those of Foolbox before its version 3, unless told otherwise: its FGSM tried sizes from small
to large, and its BIM returned the first step that was misclassified. Such an attack stops just past
the decision boundary, so that whatever moves the image a little may undo it. It says little about a
defence that the attacker does not know.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comdefend.attacks.attack import Attack, Budget
from comdefend.attacks.gradient_sign import step_length


def _fgsm(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    _, sign = _look(model, images, labels)
    moved = images
    for size in range(1, budget.steps + 1):
        with torch.no_grad():
            right = model(moved).argmax(1) == labels
        further = (images + sign * budget.bound * size / budget.steps).clamp(0, 1)
        moved = _where(right, further, moved)
    return moved


def _bim(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    moved, length = images, step_length(budget)
    low, high = (images - budget.bound).clamp(min=0), (images + budget.bound).clamp(max=1)
    for _ in range(budget.steps):
        right, sign = _look(model, moved, labels)
        moved = _where(right, (moved + sign * length).clamp(low, high), moved)
    return moved


FGSM_EARLY = Attack(
    name="fgsm-early",
    title="FGSM, stopped early",
    norm="Linf",
    kind="gradient",
    steps=100,
    about="along the gradient's sign until misclassified, as in Foolbox 1 (Rauber et al. 2017)",
    library="comdefend",
    run=_fgsm,
    covered_by_pgd=True,
)
BIM_EARLY = Attack(
    name="bim-early",
    title="BIM, stopped early",
    norm="Linf",
    kind="gradient",
    steps=10,
    about="BIM only until misclassified, as in Foolbox 1 (Rauber et al. 2017)",
    library="comdefend",
    run=_bim,
    covered_by_pgd=True,
    settings=("step_size",),
)


def _look(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return which images are classified correctly, (N,) bool, and the sign of the gradients."""
    images = images.detach().requires_grad_()
    logits = model(images)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), images)
    return logits.argmax(1) == labels, gradient.sign()


def _where(chosen: Tensor, ours: Tensor, others: Tensor) -> Tensor:
    return torch.where(chosen.view(-1, 1, 1, 1), ours, others)
