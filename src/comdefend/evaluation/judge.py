"""The judge: which images are still classified correctly."""

import torch
from torch import Tensor

from comdefend.evaluation.attacker import Attacker
from comdefend.evaluation.purified import Purified
from comdefend.evaluation.subjects import Subject
from comdefend.nn.batches import apply
from comdefend.nn.metrics import round_to_8_bits


class Judge:
    """Classifies images as the user of a defence would, and compares with the true classes.

    Args:
        images: (N, C, H, W) in [0, 1], the sample.
        labels: (N,) true classes.
        seed: Of everything random.
    """

    def __init__(self, images: Tensor, labels: Tensor, seed: int) -> None:
        self.images, self.labels, self.seed = images, labels, seed
        self._purified = Purified()

    def verdicts(self, subject: Subject, images: Tensor, indices: Tensor | None = None) -> Tensor:
        """Return which images are classified correctly, (M,) bool.

        Args:
            subject: The defence.
            images: (M, C, H, W), in place of those of the sample.
            indices: (M,) which those are; by default the first ones.
        """
        indices = torch.arange(len(images)) if indices is None else indices
        # Not the attack's seed, or the attack would know what is drawn here.
        seed = self.seed + 1
        pipeline = subject.pipeline()
        if subject.purifier is not None and not subject.random:
            purified = self._purified(subject.purifier, subject.key, images, like=pipeline)
            logits = apply(subject.classifier, purified, seed, like=pipeline)
        elif subject.draws == 1:
            logits = apply(pipeline, images, seed)
        else:
            # Always the whole sample, so that an image meets the same draws in every verdict and is
            # not given up for the worst of many.
            whole = self.images.clone()
            whole[indices] = images
            logits = apply(pipeline, whole, seed)[indices]
        return logits.argmax(1) == self.labels[indices]

    def purify(self, subject: Subject, images: Tensor) -> Tensor:
        """Return what a defence makes of (M, C, H, W) images."""
        assert subject.purifier is not None
        if subject.random:
            return apply(subject.purifier, images, self.seed)
        return self._purified(subject.purifier, subject.key, images)


def attack_standing(
    attacker: Attacker,
    judge: Judge,
    subject: Subject,
    standing: Tensor,
    attack: str,
    eps: float | None,
    steps: int | None,
    stand_ins: tuple[str, ...],
) -> Tensor:
    """Attack a pipeline on the images that stand, with one stand-in after the other.

    Args:
        attacker, judge, subject: Who attacks, who judges, and what.
        standing: (M,) bool, of the first images of the sample.
        attack, eps, steps: As for `Attacker.through`.
        stand_ins: Surrogate gradients for the threshold.

    Returns:
        (M,) bool: which images still stand.
    """
    standing = standing.clone()
    first = attacker.attacks[attack].first_steps
    # Most images fall to a few steps; only the others are worth all of them.
    stages = [first, steps] if first and steps and steps > 3 * first else [steps]
    for stand_in in stand_ins:
        for stage in stages:
            indices = standing.nonzero().flatten()
            if len(indices):
                moved = attacker.through(subject, stand_in, indices, attack, eps, stage)
                standing[indices] = judge.verdicts(subject, round_to_8_bits(moved), indices)
    return standing


def to_bits(correct: Tensor) -> str:
    """Return "1" or "0" for each image, as records hold verdicts."""
    return "".join("1" if right else "0" for right in correct.tolist())


def from_bits(bits: str) -> Tensor:
    """Return the verdicts of a record as (N,) bool."""
    return torch.tensor([bit == "1" for bit in bits], dtype=torch.bool)
