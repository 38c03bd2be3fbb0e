"""HopSkipJump, by Foolbox."""

import torch
from torch import Tensor, nn

from comdefend.attacks.attack import Attack, Budget
from comdefend.common.extras import require
from comdefend.errors import InputError

# Noise images among the starting points.
_NOISE_STARTS = 100


def _hopskipjump(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    foolbox = require("foolbox", "demo")
    starts, usable = _starting_points(model, images, labels)
    attacked = images.clone()
    if not usable.any():
        return attacked
    clean = images[usable]
    walked, _, _ = foolbox.attacks.HopSkipJumpAttack(steps=budget.steps, constraint="linf")(
        foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device),
        clean, labels[usable], epsilons=None, starting_points=starts[usable],
    )  # fmt: skip
    # A millionth for float32: the walk ends on the border of the ball, or outside it.
    within = (walked - clean).abs().flatten(1).amax(1) <= budget.bound + 1e-6
    attacked[usable] = torch.where(within.view(-1, 1, 1, 1), walked, clean)
    return attacked


HOPSKIPJUMP = Attack(
    name="hopskipjump",
    title="HopSkipJump",
    norm="Linf",
    kind="query",
    steps=15,
    about="along the decision boundary, by predicted classes alone (Chen et al. 2020)",
    library="Foolbox",
    run=_hopskipjump,
    deterministic_only=True,
)


@torch.no_grad()
def _starting_points(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each image the nearest misclassified one, and whether there is one at all.

    They come from the batch and from noise. Foolbox takes noise alone, and gives up the whole batch
    if the model classifies noise as one of its labels.
    """
    noise = torch.rand((_NOISE_STARTS, *images.shape[1:]), dtype=images.dtype, device=images.device)
    logits = model(images)
    if not torch.allclose(logits, model(images), rtol=1e-3, atol=1e-4):
        raise InputError(
            "hopskipjump needs a model that always gives the same answer; this model's answers are "
            "random"
        )
    pool = torch.cat([images, noise])
    answers = [logits, *(model(part) for part in noise.split(len(images)))]
    classes = torch.cat(answers).argmax(1)
    distances = torch.cdist(images.flatten(1), pool.flatten(1))
    distances[labels.unsqueeze(1) == classes] = torch.inf
    nearest, index = distances.min(1)
    return pool[index], nearest.isfinite()
