"""The complement objective, and the attacks that training makes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from comdefend.attacks import run_attack

LEAST_EPS = 0.5
"""Smallest bound of an attack, in units of 1/255."""


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


def n_fgsm(
    model: nn.Module, images: Tensor, labels: Tensor, eps: float, generator: torch.Generator
) -> Tensor:
    """Attack images to train on them: one step from strong noise, without a projection.

    De Jorge et al. 2022, "Make Some Noise: Reliable and Efficient Single-Step Adversarial
    Training": uniform noise of up to 2 eps, then a step of eps along the gradient's sign. What
    comes out may lie up to 3 eps away.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        images: (N, C, H, W) in [0, 1].
        labels: (N,).
        eps: In units of 1/255.
        generator: Source of the noise.
    """
    noise = 2 * torch.rand(images.shape, generator=generator) - 1
    start = (images + noise.to(images) * (2 * eps / 255)).clamp(0, 1).detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(F.cross_entropy(model(start), labels), start)
    return (start + slope.sign() * (eps / 255)).detach().clamp(0, 1)


def ramped(eps: float, share: float, progress: float) -> float:
    """Return the bound of a step whose bound grows from 0 over the first share of a training.

    Args:
        eps: The full bound, in units of 1/255.
        share: From 0, for the full bound at once, to 1.
        progress: From 0 at the start of the training to 1 at its end.
    """
    return eps if share <= 0 else eps * min(1.0, progress / share)


def divergences(answers: Tensor, wanted: Tensor) -> Tensor:
    """Return the divergence KL(wanted || answers) of each image, in nats.

    Args:
        answers: Logits, (N, classes).
        wanted: Logits of the answers that were wanted, of the same shape.
    """
    logs, wanted_logs = F.log_softmax(answers, 1), F.log_softmax(wanted, 1)
    return F.kl_div(logs, wanted_logs, log_target=True, reduction="none").sum(1)
