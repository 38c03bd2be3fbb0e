"""The judge: which images are still classified correctly."""

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from comdefend.attacks import Settings
from comdefend.evaluation.attacker import OWN, Attacker
from comdefend.evaluation.findings import SUBMISSIONS
from comdefend.evaluation.purified import Purified
from comdefend.evaluation.subjects import Subject
from comdefend.nn.batches import apply
from comdefend.nn.metrics import round_to_8_bits

NEVER = max(SUBMISSIONS) + 1
"""The number of the submission that is answered wrongly, where none is."""


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

    def first_wrong(
        self,
        subject: Subject,
        images: Tensor,
        indices: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """Submit images again and again, and return when each is first answered wrongly.

        An image is submitted by itself, and answered by one draw, not by the mean over several. It
        is not submitted again once it is answered wrongly.

        Args:
            subject: A defence or classifier that draws at random.
            images, indices: As for `verdicts`.
            known: (M,) int64, when other images in the place of these were, by default `NEVER`:
                they are submitted less often than that.

        Returns:
            (M,) int64: numbers of submissions from 1; those of ``known`` where none came before.
        """
        places = range(len(images)) if indices is None else indices.tolist()
        first = torch.full((len(images),), NEVER) if known is None else known.clone()
        pipeline = subject.pipeline(averaged=False)
        for row, place in enumerate(places):
            for number in range(1, int(first[row])):
                seed = _seed_of_draw(self.seed, place, number)
                answer = apply(pipeline, images[row : row + 1], seed).argmax(1)
                if answer != self.labels[place]:
                    first[row] = number
                    break
        return first

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
    tried: Callable[[Tensor, Tensor], object] = lambda images, indices: None,
    settings: Settings = OWN,
) -> Tensor:
    """Attack a pipeline on the images that stand, with one stand-in after the other.

    Args:
        attacker, judge, subject: Who attacks, who judges, and what.
        standing: (M,) bool, of the first images of the sample.
        attack, eps, steps: As for `Attacker.through`.
        stand_ins: Surrogate gradients for the threshold.
        tried: Called with attacked images and their indices in the sample, in every try.
        settings: How the attack is made.

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
                moved = attacker.through(subject, stand_in, indices, attack, eps, stage, settings)
                moved = round_to_8_bits(moved)
                standing[indices] = judge.verdicts(subject, moved, indices)
                tried(moved, indices)
    return standing


def _seed_of_draw(seed: int, place: int, number: int) -> int:
    """Return the seed of a draw: each image of the sample, and each submission, has its own."""
    digest = hashlib.sha256(f"{seed} submission {place} {number}".encode()).digest()
    # As much as torch's generators take.
    return int.from_bytes(digest[:8]) >> 1


def to_bits(correct: Tensor) -> str:
    """Return "1" or "0" for each image, as records hold verdicts."""
    return "".join("1" if right else "0" for right in correct.tolist())


def from_bits(bits: str) -> Tensor:
    """Return the verdicts of a record as (N,) bool."""
    return torch.tensor([bit == "1" for bit in bits], dtype=torch.bool)
