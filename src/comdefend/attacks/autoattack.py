"""AutoAttack and Square, by pyautoattack."""

import torch
from torch import Tensor, nn

from comdefend.attacks.attack import Attack, Budget
from comdefend.common.extras import require

# The DLR loss divides by a difference of the largest logits: the first and the third, in its
# targeted form the first and the mean of the third and fourth.
_CLASSES_NEEDED = {"apgd-dlr": 3, "apgd-t": 4}
_TARGETS = 9


def _autoattack(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    runner = require("pyautoattack", "evaluate").AutoAttack(
        model,
        eps=budget.bound,
        seed=budget.seed,
        version="rand" if budget.random else "standard",
        device=images.device,
    )
    runner.verbose = False
    with torch.no_grad():
        classes = model(images[:1]).shape[-1]
    targets = min(_TARGETS, classes - 1)
    runner.apgd_targeted.n_target_classes = runner.fab.n_target_classes = targets
    runner.attacks_to_run = [
        part for part in runner.attacks_to_run if classes >= _CLASSES_NEEDED.get(part, 2)
    ]
    # The library takes views, which other memory layouts do not allow.
    images = images.contiguous()
    attacked, _ = runner.run_standard_evaluation(images, labels, batch_size=len(images))
    return attacked


def _square(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    square = require("pyautoattack.square", "evaluate").SquareAttack(
        model, eps=budget.bound, n_queries=budget.steps, seed=budget.seed, device=images.device
    )
    with torch.no_grad():
        return square.perturb(images.contiguous(), labels)


AUTOATTACK = Attack(
    name="autoattack",
    title="AutoAttack",
    norm="Linf",
    kind="ensemble",
    about="APGD-CE, targeted APGD-DLR, targeted FAB and Square (Croce and Hein 2020)",
    library="pyautoattack",
    run=_autoattack,
    in_pieces=True,
    averages=True,
)
SQUARE = Attack(
    name="square",
    title="Square",
    norm="Linf",
    kind="query",
    steps=5000,
    about="random squares, by logits alone, a query a step (Andriushchenko et al. 2020)",
    library="pyautoattack",
    run=_square,
)
