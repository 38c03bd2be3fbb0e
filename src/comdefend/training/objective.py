"""The complement objective, and the attacks that training makes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comdefend.attacks import run_attack


def complement_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the complement objective: how unevenly the wrong classes share their probability.

    The negative entropy of the wrong classes' probabilities, normalised to sum to 1, over their
    number K - 1: between -log(K - 1) / (K - 1) and 0 (Chen et al. 2019, "Complement Objective
    Training", normalised complement entropy). Chen et al. alternate it with the cross-entropy, one
    step each; here one step minimises the sum.

    Args:
        logits: (N, classes), at least three classes.
        labels: (N,).
    """
    wrong = logits.shape[1] - 1
    others = logits.scatter(1, labels.unsqueeze(1), -math.inf)
    logs = F.log_softmax(others, 1)
    # The true class has probability 0 and counts as 0, where 0 * -inf would be NaN.
    entropy = -(logs.exp() * logs.masked_fill(logs.isinf(), 0)).sum(1)
    return -entropy.mean() / wrong


def training_attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Attack images to train on them: PGD from a random start.

    One step of 1.25 eps is fast adversarial training (Wong et al. 2020, "Fast is better than
    free"); several steps of 2.5 eps / steps are that of Madry et al. 2018.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (N, C, H, W) in [0, 1].
        labels: (N,).
        eps: Bound of the largest change, in units of 1/255.
        steps: Number of steps.
        generator: Source of the seed.
    """
    seed = int(torch.randint(2**31, (), generator=generator))
    step_size = 1.25 * eps if steps == 1 else 2.5 * eps / steps
    return run_attack(
        model, images, labels, "pgd", eps, steps, step_size=step_size, seed=seed, rounded=False
    )
