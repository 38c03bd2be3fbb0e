"""Record how much of a perturbation passes through a purifier: ``python tools/kept.py``.

At each rate of ``rgb-variable``: of an attack on the classifier alone (BIM), of one through the
purifier (PGD), and of random signs. Reads CIFAR-10 from ``COMDEFEND_DATA``.
"""

from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

import comdefend
from comdefend.attacks import run_attack
from comdefend.classifiers import open_classifier
from comdefend.common.json_files import save_json
from comdefend.common.processor import Machine, this_machine
from comdefend.data.sources import load_image_set
from comdefend.defenses import DefendedClassifier
from comdefend.evaluation.binary_code import code_statistics, random_signs
from comdefend.evaluation.record import Flip
from comdefend.nn.batches import apply, batches
from comdefend.nn.metrics import peak_signal_noise_ratio

RECORD = Path(__file__).parent.parent / "docs" / "records" / "kept.json"
WEIGHTS, CLASSIFIER = "rgb-variable", "cifar10-small"
EPS, BIM_STEPS, PGD_STEPS = 8, 10, 20
IMAGES, BATCH, SEED = 100, 50, 0


class Row(msgspec.Struct, frozen=True):
    """One rate: bits per pixel, PSNR of purified clean images in dB, and what changes do."""

    bpp: float
    psnr: float
    flips: tuple[Flip, ...]


class Record(Machine, frozen=True, kw_only=True):
    """What was measured.

    Attributes:
        weights, classifier, data, images, seed: What it was measured with.
        eps: Of all changes, in units of 1/255.
        steps: Attack -> its steps.
        perturbation_psnr: Of BIM's images, in dB.
        rows: One for each rate.
    """

    weights: str
    classifier: str
    data: str
    images: int
    seed: int
    eps: float
    steps: dict[str, int]
    perturbation_psnr: float
    rows: tuple[Row, ...]


def measure() -> Record:
    """Return the record."""
    data = load_image_set("cifar10", "test").sample(IMAGES, SEED)
    images, labels = data.images.float() / 255, data.labels
    classifier, purifier = open_classifier(CLASSIFIER), comdefend.load(WEIGHTS)

    def attacked(model: nn.Module, attack: str, steps: int) -> Tensor:
        parts = batches(len(images), BATCH)
        run = [
            run_attack(model, images[p], labels[p], attack, EPS, steps, seed=SEED) for p in parts
        ]
        return torch.cat(run)

    oblivious = attacked(classifier, "bim", BIM_STEPS)
    signs = random_signs(images, EPS, SEED)
    rows = []
    for bpp in purifier.config.bpps:
        at = purifier.at(bpp)
        adaptive = attacked(DefendedClassifier(at, classifier), "pgd", PGD_STEPS)
        changed: list[tuple[str, float, Tensor]] = [
            ("random", EPS, signs),
            ("bim", EPS, oblivious),
            ("adaptive", EPS, adaptive),
        ]
        psnr = peak_signal_noise_ratio(apply(at, images), images).item()
        rows.append(Row(bpp, psnr, code_statistics(at, images, changed).flips))
    return Record(
        **this_machine(),
        weights=WEIGHTS,
        classifier=CLASSIFIER,
        data="cifar10",
        images=IMAGES,
        seed=SEED,
        eps=EPS,
        steps={"bim": BIM_STEPS, "adaptive": PGD_STEPS},
        perturbation_psnr=peak_signal_noise_ratio(oblivious, images).item(),
        rows=tuple(rows),
    )


if __name__ == "__main__":
    save_json(measure(), RECORD)
