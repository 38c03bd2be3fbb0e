"""Attacking many images, as several tools do, and how their records say so."""

import msgspec
import torch
from torch import Tensor, nn

from comdefend.attacks import run_attack
from comdefend.nn.batches import batches

BATCH = 50


class Attack(msgspec.Struct, frozen=True):
    """An attack of a record; eps in units of 1/255."""

    attack: str
    eps: float
    steps: int


BIM = Attack("bim", 8, 10)


def attacked(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, seed: int) -> Tensor:
    """Return attacked versions of images: (N, C, H, W) float in [0, 1], rounded to 8 bits."""
    parts = batches(len(images), BATCH)
    return torch.cat(
        [
            run_attack(
                model, images[p], labels[p], attack.attack, attack.eps, attack.steps, seed=seed
            )
            for p in parts
        ]
    )
