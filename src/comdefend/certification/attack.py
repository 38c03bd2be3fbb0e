"""An attack on the smoothed classifier: how much of what is not proven breaks in fact."""

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from comdefend.certification.noise import stream_key
from comdefend.certification.record import Attacked, Image
from comdefend.certification.smoothing import Smoothed
from comdefend.common.extras import require
from comdefend.nn.device import device_of

STEPS, DRAWS = 20, 8
"""Steps of the attack, and draws of noise that each step's gradient averages."""


class MeanProbability(nn.Module):
    """The logarithm of a base classifier's mean probabilities under normal noise.

    The cross-entropy of these is the objective of SmoothAdv (Salman et al., "Provably Robust Deep
    Learning via Adversarially Trained Smoothed Classifiers", NeurIPS 2019): the gradient averages
    over draws, which are new in every pass, from torch's global generator.

    Args:
        base: Images of any values to logits, differentiable.
        sigma: Standard deviation of the noise.
        draws: Draws for each image, all in one pass.
    """

    def __init__(self, base: nn.Module, sigma: float, draws: int) -> None:
        super().__init__()
        self.base, self.sigma, self.draws = base, sigma, draws
        self.training = base.training

    def forward(self, images: Tensor) -> Tensor:
        """Return logarithms of probabilities: (N, C, H, W) in [0, 1] -> (N, classes)."""
        copies = images.repeat_interleave(self.draws, 0)
        logits = self.base(copies + self.sigma * torch.randn_like(copies))
        each = logits.log_softmax(1).unflatten(0, (-1, self.draws))
        return each.logsumexp(1) - math.log(self.draws)


def attack_within(
    model: nn.Module, image: Tensor, label: int, radius: float, seed: int, steps: int = STEPS
) -> Tensor:
    """Attack an image within an L2 ball: PGD (Madry et al. 2018) by Foolbox, from a random start.

    Steps are 2 radius / steps long, as SmoothAdv's.

    Args:
        model: Images in [0, 1] to logits, in evaluation mode.
        image: (C, H, W) float in [0, 1].
        label: Its class.
        radius: Of the ball, for images in [0, 1].
        seed: Of the start, and of what the model draws from torch's global generator, which is left
            as it was.
        steps: At least 1.

    Returns:
        (C, H, W) in [0, 1], on the CPU.
    """
    foolbox = require("foolbox", "evaluate")
    # A copy, whose weights have no gradients: attacks need those of images alone.
    own, device = copy.deepcopy(model).requires_grad_(False), device_of(model)
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        attacked = foolbox.attacks.L2PGD(rel_stepsize=2 / steps, steps=steps).run(
            foolbox.PyTorchModel(own, bounds=(0, 1), device=device),
            image.unsqueeze(0).to(device),
            foolbox.criteria.Misclassification(torch.tensor([label], device=device)),
            epsilon=radius,
        )
    return attacked[0].detach().cpu()


class Adversary:
    """Attacks the smoothed classifier and the classifier alone, within one radius after the other.

    Gradients are those of the pipeline in PyTorch, straight through the purifier's threshold, since
    an engine has none; the engine's answers decide.

    Args:
        smoothed: Who answers; its draws are made for each radius.
        classifier: The classifier alone.
        radii: From small to large; within 0 the image stays as it is.
    """

    def __init__(self, smoothed: Smoothed, classifier: nn.Module, radii: Sequence[float]) -> None:
        self.smoothed, self.classifier, self.radii = smoothed, classifier, radii
        self._soft = MeanProbability(smoothed.base.pipeline, smoothed.sigma, DRAWS)

    def attack(self, pixels: Tensor, image: Image) -> Attacked:
        """Attack (C, H, W) pixels of which `image` was found."""
        contradicted = False

        def answered(radius: float) -> int | None:
            nonlocal contradicted
            (answer,) = self.smoothed.predict(self._moved(self._soft, pixels, image.label, radius))
            changed = answer is not None and answer != image.answer
            contradicted |= radius < image.radius and changed
            return answer

        def alone(radius: float) -> int | None:
            moved = self._moved(self.classifier, pixels, image.label, radius)
            with torch.inference_mode():
                return int(self.classifier(moved.to(device_of(self.classifier))).argmax(1))

        return Attacked(
            smoothed=self._stands(answered, image.label),
            bare=self._stands(alone, image.label),
            contradicted=contradicted,
        )

    def _stands(self, answer: Callable[[float], int | None], label: int) -> str:
        """Return "1" or "0" for each radius; what fell within a small one has fallen."""
        bits = ""
        for radius in self.radii:
            bits += "1" if "0" not in bits and answer(radius) == label else "0"
        return bits

    def _moved(self, model: nn.Module, pixels: Tensor, label: int, radius: float) -> Tensor:
        if radius:
            # torch's generator takes 32 bits.
            seed = stream_key(self.smoothed.seed, "attack", pixels) % 2**32
            pixels = attack_within(model, pixels, label, radius, seed)
        return pixels.unsqueeze(0)
