"""Record how much of a perturbation passes through a purifier: ``python -m tools.kept``.

At each rate of ``rgb-variable``: of an attack on the classifier alone (BIM), of one through the
purifier (PGD), and of random signs. Reads CIFAR-10 from ``COMDEFEND_DATA``.
"""

from pathlib import Path

import msgspec
from torch import Tensor

import comdefend
from comdefend.classifiers import open_classifier
from comdefend.common.json_files import save_json
from comdefend.common.processor import Machine, this_machine
from comdefend.data.sources import load_image_set
from comdefend.defenses import DefendedClassifier
from comdefend.evaluation.binary_code import code_statistics, random_signs
from comdefend.evaluation.findings import Flip
from comdefend.nn.batches import apply
from comdefend.nn.metrics import peak_signal_noise_ratio
from tools.attacking import Attack, attacked

RECORD = Path(__file__).parent.parent / "docs" / "records" / "kept.json"
WEIGHTS, CLASSIFIER = "rgb-variable", "cifar10-small"
EPS = 8
BIM, PGD = Attack("bim", EPS, 10), Attack("pgd", EPS, 20)
IMAGES, SEED = 100, 0


class KeptRow(msgspec.Struct, frozen=True):
    """One rate: bits per pixel, PSNR of purified clean images in dB, and what changes do."""

    bpp: float
    psnr: float
    flips: tuple[Flip, ...]


class Kept(Machine, frozen=True, kw_only=True):
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
    rows: tuple[KeptRow, ...]


def measure() -> Kept:
    """Return the record."""
    data = load_image_set("cifar10", "test").sample(IMAGES, SEED)
    images, labels = data.images.float() / 255, data.labels
    classifier, purifier = open_classifier(CLASSIFIER), comdefend.load(WEIGHTS)

    oblivious = attacked(classifier, images, labels, BIM, SEED)
    signs = random_signs(images, EPS, SEED)
    rows = []
    for bpp in purifier.config.bpps:
        at = purifier.at(bpp)
        adaptive = attacked(DefendedClassifier(at, classifier), images, labels, PGD, SEED)
        changed: list[tuple[str, float, Tensor]] = [
            ("random", EPS, signs),
            ("bim", EPS, oblivious),
            ("adaptive", EPS, adaptive),
        ]
        psnr = peak_signal_noise_ratio(apply(at, images), images).item()
        rows.append(KeptRow(bpp, psnr, code_statistics(at, images, changed).flips))
    return Kept(
        **this_machine(),
        weights=WEIGHTS,
        classifier=CLASSIFIER,
        data="cifar10",
        images=IMAGES,
        seed=SEED,
        eps=EPS,
        steps={"bim": BIM.steps, "adaptive": PGD.steps},
        perturbation_psnr=peak_signal_noise_ratio(oblivious, images).item(),
        rows=tuple(rows),
    )


if __name__ == "__main__":
    save_json(measure(), RECORD)
