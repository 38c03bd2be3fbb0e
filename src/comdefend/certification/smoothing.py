"""The smoothed classifier: the answer that comes most often under normal noise.

Cohen, Rosenfeld and Kolter, "Certified Adversarial Robustness via Randomized Smoothing" (ICML
2019); a denoiser in front of a classifier that stays is from Salman, Sun, Yang, Kapoor and Kolter,
"Denoised Smoothing: A Provable Defense for Pretrained Classifiers" (NeurIPS 2020).

The certificate is one of real numbers. The base classifier computes with floats of finite length,
for which, as for every implementation, it holds up to rounding (Jin et al., "Getting a-Round
Guarantees", 2022).
"""

import time
from collections.abc import Sequence
from itertools import accumulate, pairwise

import msgspec
import torch
from torch import Tensor

from comdefend.certification.base import BaseClassifier
from comdefend.certification.bounds import (
    certified_radius,
    is_hopeless,
    is_majority,
    lower_bound,
)
from comdefend.certification.noise import draws, stream_key
from comdefend.nn.batches import batches

BLOCK = 100
"""Draws after which hopeless images are sorted out: a fixed number, so that the counts do not
depend on how many images are computed at once."""

Job = tuple[int, range]
"""The place of an image, and the numbers of the draws to make of its noise."""


class Certified(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one image.

    Attributes:
        answer: The certified class; None for an abstention.
        guess: The class that came most often in the first n0 draws.
        hits: How often it came in those that followed.
        draws: Their number: n, or fewer for an image that was given up.
        lower: Lower bound on the guess's probability, with probability 1 - alpha; None for an image
            that was given up, since it was looked at before the end.
        radius: No change of smaller L2 length alters the answer; 0 for an abstention.
        stopped: Given up early: with all other draws the bound would not have come above 1/2.
        seconds: How long it took.
    """

    answer: int | None
    guess: int
    hits: int
    draws: int
    lower: float | None
    radius: float
    stopped: bool
    seconds: float


class Smoothed:
    """A base classifier under normal noise.

    Args:
        base: What is smoothed.
        sigma: Standard deviation of the noise, for images in [0, 1].
        n: Draws that a certificate stands on.
        n0: Draws before those, that guess the answer.
        alpha: With this probability at most an answer, or a certificate, is wrong.
        seed: Of the noise.
    """

    def __init__(
        self, base: BaseClassifier, sigma: float, n: int, n0: int, alpha: float, seed: int
    ) -> None:
        self.base, self.sigma, self.n, self.n0 = base, sigma, n, n0
        self.alpha, self.seed = alpha, seed

    def images_at_once(self, images: Tensor) -> int:
        """Return how many of these images to certify together, so that batches are full."""
        return -(-self.base.images_at_once(images) // BLOCK)

    def certify(self, images: Tensor) -> list[Certified]:
        """Certify images: CERTIFY of Cohen et al., Section 3.2.2, with hopeless images given up.

        Args:
            images: (N, C, H, W) float32 in [0, 1], on the CPU.
        """
        started = time.perf_counter()
        everyone = range(len(images))
        first = self._answers(images, "certify", [(i, range(self.n0)) for i in everyone])
        guesses = [int(answers.bincount().argmax()) for answers in first]
        hits, drawn, hopeful = [0] * len(images), [0] * len(images), list(everyone)
        for block in batches(self.n, BLOCK):
            if not hopeful:
                break
            numbers = range(self.n0 + block.start, self.n0 + block.stop)
            votes = self._answers(images, "certify", [(i, numbers) for i in hopeful])
            for i, answers in zip(hopeful, votes, strict=True):
                hits[i] += int((answers == guesses[i]).sum())
                drawn[i] += len(answers)
            hopeful = [i for i in hopeful if not is_hopeless(hits[i], drawn[i], self.n, self.alpha)]
        each = (time.perf_counter() - started) / sum(self.n0 + count for count in drawn)
        return [
            self._certified(guesses[i], hits[i], drawn[i], each * (self.n0 + drawn[i]))
            for i in everyone
        ]

    def predict(self, images: Tensor) -> list[int | None]:
        """Answer images, or abstain: PREDICT of Cohen et al., Section 3.2.1.

        Args:
            images: (N, C, H, W) float32 in [0, 1], on the CPU.

        Returns:
            For each image the most frequent class of n draws; None where the next one is so
            frequent that the two may change places.
        """
        jobs = [(i, range(self.n)) for i in range(len(images))]
        answered: list[int | None] = []
        for answers in self._answers(images, "predict", jobs):
            counts, classes = answers.bincount(minlength=2).sort(descending=True, stable=True)
            sure = is_majority(int(counts[0]), int(counts[1]), self.alpha)
            answered.append(int(classes[0]) if sure else None)
        return answered

    def _certified(self, guess: int, hits: int, drawn: int, seconds: float) -> Certified:
        stopped = drawn < self.n
        lower = None if stopped else lower_bound(hits, drawn, self.alpha)
        proven = lower is not None and lower > 0.5
        return Certified(
            answer=guess if proven else None,
            guess=guess,
            hits=hits,
            draws=drawn,
            lower=lower,
            radius=certified_radius(lower or 0.0, self.sigma),
            stopped=stopped,
            seconds=round(seconds, 3),
        )

    def _answers(self, images: Tensor, purpose: str, jobs: Sequence[Job]) -> list[Tensor]:
        """Return the base classifier's answers for each job, in batches across images."""
        keys = {i: stream_key(self.seed, purpose, images[i]) for i, _ in jobs}
        passes = [(i, number) for i, numbers in jobs for number in numbers]
        answers = [torch.zeros(0, dtype=torch.int64)]
        for part in batches(len(passes), self.base.images_at_once(images)):
            noise = draws([(keys[i], number) for i, number in passes[part]], images.shape[1:])
            answers.append(self.base(images[[i for i, _ in passes[part]]] + self.sigma * noise))
        ends = accumulate((len(numbers) for _, numbers in jobs), initial=0)
        everything = torch.cat(answers)
        return [everything[start:end] for start, end in pairwise(ends)]
