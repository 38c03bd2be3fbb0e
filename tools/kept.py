"""Record how much of a perturbation comes out of a purifier again: ``python tools/kept.py``.

At each rate of ``rgb-variable``, of what an attacker adds who knows the classifier alone (BIM) and
one who knows the purifier too (PGD through it), beside random signs. Takes CIFAR-10 from
``COMDEFEND_DATA``.
"""

from pathlib import Path
from typing import Any

import torch

import comdefend
from comdefend.attacks import run_attack
from comdefend.classifiers import open_classifier
from comdefend.common.processor import description
from comdefend.common.provenance import commit
from comdefend.data.sources import load_image_set
from comdefend.defenses import DefendedClassifier
from comdefend.evaluation import record as records
from comdefend.evaluation.code import code_statistics, random_signs
from comdefend.nn.batches import apply, batches
from comdefend.nn.metrics import peak_signal_noise_ratio

RECORD = Path(__file__).parent.parent / "docs" / "records" / "kept.json"
WEIGHTS, CLASSIFIER = "rgb-variable", "cifar10-small"
EPS, BIM_STEPS, PGD_STEPS = 8, 10, 20
IMAGES, BATCH, SEED = 100, 50, 0


def measure() -> dict[str, Any]:
    """Return the record."""
    data = load_image_set("cifar10", "test").sample(IMAGES, SEED)
    images, labels = data.images.float() / 255, data.labels
    classifier, purifier = open_classifier(CLASSIFIER), comdefend.load(WEIGHTS)

    def attacked(model: torch.nn.Module, attack: str, steps: int) -> torch.Tensor:
        parts = batches(len(images), BATCH)
        found = [
            run_attack(model, images[p], labels[p], attack, EPS, steps, seed=SEED) for p in parts
        ]
        return torch.cat(found)

    oblivious = attacked(classifier, "bim", BIM_STEPS)
    signs = random_signs(images, EPS, SEED)
    rows = []
    for bpp in purifier.config.bpps:
        at = purifier.at(bpp)
        adaptive = attacked(DefendedClassifier(at, classifier), "pgd", PGD_STEPS)
        changed = [("random", EPS, signs), ("bim", EPS, oblivious), ("adaptive", EPS, adaptive)]
        psnr = peak_signal_noise_ratio(apply(at, images), images).item()
        flips = code_statistics(at, images, changed)["flips"]
        rows.append({"bpp": bpp, "psnr": psnr, "flips": flips})
    return {
        "commit": commit(),
        "versions": records.versions(),
        **description(),
        "weights": WEIGHTS,
        "classifier": CLASSIFIER,
        "data": "cifar10",
        "images": IMAGES,
        "seed": SEED,
        "eps": EPS,
        "steps": {"bim": BIM_STEPS, "adaptive": PGD_STEPS},
        "perturbation_psnr": peak_signal_noise_ratio(oblivious, images).item(),
        "rows": rows,
    }


if __name__ == "__main__":
    records.save_record(measure(), RECORD)
