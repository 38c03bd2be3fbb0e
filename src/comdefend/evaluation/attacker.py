"""The attacker: makes attacked images, and keeps what took long."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from comdefend.attacks import Attack, Expectation, Settings, run_attack, settings_of
from comdefend.common.store import Store
from comdefend.evaluation.subjects import OpenedClassifier, Subject
from comdefend.nn.batches import batches, device_of, images_at_once

PIECE = 50
"""Images of the sample that an attack kept in pieces is made on at once."""


OWN = Settings()
"""Nothing set: an attack is made in its own way."""


class Attacker:
    """Attacks classifiers alone, and whole pipelines.

    Args:
        store: Where attacked images are kept.
        images: (N, C, H, W) in [0, 1], the sample.
        labels: (N,) true classes.
        data_key: Fingerprint of the two.
        attacks: By name.
        seed: Of everything random.
        draws: Draws to average over where a classifier alone is random.
    """

    def __init__(
        self,
        store: Store,
        images: Tensor,
        labels: Tensor,
        data_key: str,
        attacks: Mapping[str, Attack],
        seed: int,
        draws: int,
    ) -> None:
        self.store, self.images, self.labels = store, images, labels
        self.data_key, self.attacks, self.seed, self.draws = data_key, attacks, seed, draws

    def alone(
        self,
        classifier: OpenedClassifier,
        attack: str,
        eps: float | None,
        steps: int | None,
        count: int,
        settings: Settings = OWN,
    ) -> Tensor:
        """Return the first images attacked on a classifier alone, not rounded; made once.

        Args:
            classifier: Images in [0, 1] to logits.
            attack: Name of the attack.
            eps: Bound in units of 1/255, or None.
            steps: Of the attack.
            count: How many images.
            settings: How the attack is made.
        """
        if self.attacks[attack].norm == "L2" and eps is not None:
            # What such an attack finds does not depend on the bound that it is clipped to.
            moved = self.alone(classifier, attack, None, steps, count, settings)
            clean = self.images[:count]
            return moved.clamp(clean - eps / 255, clean + eps / 255)
        key = self.key_alone(classifier.key, attack, eps, steps, count, settings)
        everything, target = torch.arange(count), classifier.module
        if classifier.random and not self.attacks[attack].averages:
            target = Expectation(target, self.draws)
        return self.store.tensor(
            key,
            lambda: self._attack(
                target, everything, attack, eps, steps, classifier.random, settings
            ),
        )

    def key_alone(
        self,
        classifier: str,
        attack: str,
        eps: float | None,
        steps: int | None,
        count: int,
        settings: Settings = OWN,
    ) -> dict[str, object]:
        """Return the key under which `alone` keeps its images; ``classifier`` is a fingerprint."""
        bound = None if self.attacks[attack].norm == "L2" else eps
        key = self._key(attack, bound, steps, settings)
        return {**key, "on": classifier, "images": count}

    def through(
        self,
        subject: Subject,
        stand_in: str,
        indices: Tensor,
        attack: str,
        eps: float | None,
        steps: int | None,
        settings: Settings = OWN,
    ) -> Tensor:
        """Return images attacked through a whole pipeline, not rounded.

        Args:
            subject: The defence.
            stand_in: Surrogate gradient for the threshold.
            indices: Of the images in the sample.
            attack, eps, steps, settings: As for `alone`.
        """
        random = subject.random
        target = subject.pipeline(stand_in, averaged=not self.attacks[attack].averages)
        if not self.attacks[attack].in_pieces or device_of(target).type != "cpu":
            return self._attack(target, indices, attack, eps, steps, random, settings)
        # An hour and more on a processor: in pieces, it can be stopped and resumed.
        moved = []
        for number in (indices // PIECE).unique():
            piece = indices[indices // PIECE == number]
            key = {
                **self._key(attack, eps, steps, settings),
                "through": subject.key, "stand_in": stand_in, "indices": piece.tolist(),
            }  # fmt: skip
            attack_piece = partial(
                self._attack, target, piece, attack, eps, steps, random, settings
            )
            moved.append(self.store.tensor(key, attack_piece))
        return torch.cat(moved)

    def _key(
        self, attack: str, eps: float | None, steps: int | None, settings: Settings
    ) -> dict[str, object]:
        return {
            "attack": attack, "attack_key": self.attacks[attack].fingerprint,
            "data": self.data_key, "eps": eps, "steps": steps, "seed": self.seed,
            **settings_of(settings),
        }  # fmt: skip

    def _attack(
        self,
        target: nn.Module,
        indices: Tensor,
        attack: str,
        eps: float | None,
        steps: int | None,
        random: bool,
        settings: Settings,
    ) -> Tensor:
        device, size = device_of(target), images_at_once(target, self.images)
        moved = []
        for part in batches(len(indices), size):
            images, labels = self.images[indices[part]], self.labels[indices[part]]
            moved.append(
                run_attack(
                    target, images.to(device), labels.to(device), self.attacks[attack], eps, steps,
                    seed=self.seed, random=random, rounded=False, **settings_of(settings),
                ).cpu()
            )  # fmt: skip
        return torch.cat(moved)
