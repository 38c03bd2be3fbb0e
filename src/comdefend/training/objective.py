"""What classifiers minimise, beside plain cross-entropy: the defences by training."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def complement_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the complement objective: how unevenly the wrong classes share what is left.

    The negative entropy of the wrong classes' probabilities, normalised to sum to 1, over their
    number K - 1: between -log(K - 1) / (K - 1) and 0 (Chen et al. 2019, "Complement Objective
    Training", normalised complement entropy). Chen et al. take turns with cross-entropy, a step for
    each; here both are summed, one step for both.

    Args:
        logits: (N, classes), at least three classes.
        labels: (N,).
    """
    wrong = logits.shape[1] - 1
    others = logits.scatter(1, labels.unsqueeze(1), -math.inf)
    logs = F.log_softmax(others, 1)
    # 0 * -inf, at the true class, counts as 0.
    entropy = -(logs.exp() * logs.masked_fill(logs.isinf(), 0)).sum(1)
    return -entropy.mean() / wrong


def perturbed(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Return images attacked for training on: random start, then steps along the gradient's sign.

    One step of 1.25 eps is fast adversarial training (Wong et al. 2020, "Fast is better than
    free"); several of 2.5 eps / steps are that of Madry et al. 2018.

    Args:
        model: Images in [0, 1] to logits; its batch statistics are left as they are.
        images: (N, C, H, W) in [0, 1].
        labels: (N,).
        eps: Bound of the largest change, in units of 1/255.
        steps: Steps.
        generator: Where the start comes from.
    """
    bound = eps / 255
    length = 1.25 * bound if steps == 1 else 2.5 * bound / steps
    start = torch.rand(images.shape, generator=generator).to(images.device)
    found = (images + (2 * start - 1) * bound).clamp(0, 1)
    was_training = model.training
    model.eval()
    for _ in range(steps):
        found = found.detach().requires_grad_()
        loss = F.cross_entropy(model(found), labels)
        (gradient,) = torch.autograd.grad(loss, found)
        found = found + length * gradient.sign()
        found = torch.minimum(torch.maximum(found, images - bound), images + bound).clamp(0, 1)
    model.train(was_training)
    return found.detach()
