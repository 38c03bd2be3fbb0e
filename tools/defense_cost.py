"""Record what defences cost, and what bfloat16 changes: ``python tools/defense_cost.py``.

Takes CIFAR-10 from ``COMDEFEND_DATA`` and photographs from scikit-image. Models take turns, round
after round, so that what else runs on the machine meets all of them alike; medians are recorded.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import skimage.data
import torch
from torch import Tensor

from comdefend.attacks import run_attack
from comdefend.classifiers import open_classifier
from comdefend.common.processor import description
from comdefend.common.provenance import commit
from comdefend.data.sources import load_image_set
from comdefend.defenses import DefendedClassifier, load_defense
from comdefend.evaluation import record as records
from comdefend.evaluation.experiment import load_experiment
from comdefend.nn.batches import batches
from comdefend.nn.metrics import peak_signal_noise_ratio
from comdefend.weights.zoo import load

RECORD = Path(__file__).parent.parent / "docs" / "records" / "defense-cost.json"
EXPERIMENT = load_experiment("cifar10")
PURIFIER = "rgb-12bpp"
BATCH, JUDGED, ROUNDS, SIDE = 64, 500, 7, 224
ATTACK: dict[str, Any] = {"attack": "bim", "eps": 8, "steps": 10}

Model = Callable[[Tensor], Tensor]


@torch.inference_mode()
def speeds(models: dict[str, Model], images: Tensor, rounds: int) -> dict[str, list[float]]:
    """Return each model's images a second in every round; one round before them warms up."""
    found: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            started = time.perf_counter()
            model(images)
            if turn > 0:
                found[name].append(len(images) / (time.perf_counter() - started))
    return found


def costs(spec: str, images: Tensor, rounds: int) -> dict[str, Any]:
    """Return the speed of a classifier behind each defence of the experiment."""
    classifier = open_classifier(spec)
    models: dict[str, Model] = {"none": classifier}
    for plan in EXPERIMENT.defenses:
        if plan.purifier != "none":
            models[plan.name] = DefendedClassifier(load_defense(plan.purifier).eval(), classifier)
    found = speeds(models, images, rounds)
    rows = [
        {"defense": name, "rate": statistics.median(rates), "ratio": _ratio(rates, found["none"])}
        for name, rates in found.items()
    ]
    return {"classifier": spec, "shape": list(images.shape), "rounds": rounds, "rows": rows}


def bfloat16(spec: str, images: Tensor, labels: Tensor, rounds: int) -> dict[str, Any]:
    """Return what bfloat16 changes about a classifier, alone and behind the purifier."""
    classifier, purifier = open_classifier(spec), load(PURIFIER)
    attacked = [
        run_attack(classifier, images[part], labels[part], **ATTACK, seed=EXPERIMENT.seed)
        for part in batches(len(images), BATCH)
    ]
    rows, gains = [], []
    stages: dict[str, list[Model]] = {
        "none": [classifier],
        PURIFIER: [purifier.encode, purifier.decode, classifier],
    }
    for name, steps in stages.items():
        for kind, shown in (("clean", images), (ATTACK["attack"], torch.cat(attacked))):
            exact, rough = (_outputs(steps, shown, low) for low in (False, True))
            classes = {"float32": exact[-1].argmax(1), "bfloat16": rough[-1].argmax(1)}
            row = {
                "defense": name,
                "images": kind,
                "changed": int((classes["float32"] != classes["bfloat16"]).sum()),
                "accuracy": {k: int((c == labels).sum()) / len(c) for k, c in classes.items()},
            }
            if name == PURIFIER:
                row["bits"] = (exact[0] != rough[0]).float().mean().item()
                row["psnr"] = peak_signal_noise_ratio(rough[1], exact[1]).item()
            rows.append(row)
        model = classifier if name == "none" else DefendedClassifier(purifier, classifier)
        low = torch.autocast("cpu", torch.bfloat16)(model)
        found = speeds({"float32": model, "bfloat16": low}, images[:BATCH], rounds)
        gain = {key: statistics.median(rates) for key, rates in found.items()}
        gains.append({"defense": name, **gain, "ratio": _ratio(*reversed(found.values()))})
    return {
        "classifier": spec,
        "data": EXPERIMENT.data,
        "images": len(images),
        "seed": EXPERIMENT.seed,
        "attack": ATTACK,
        "batch": min(BATCH, len(images)),
        "rounds": rounds,
        "rows": rows,
        "speeds": gains,
    }


@torch.inference_mode()
def _outputs(stages: list[Model], images: Tensor, low: bool) -> list[Tensor]:
    """Return what each of the stages makes of the one before; in bfloat16 if ``low``."""
    outputs = []
    for stage in stages:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            images = torch.cat([stage(images[p]).float() for p in batches(len(images), BATCH)])
        outputs.append(images)
    return outputs


def _ratio(rates: list[float], others: list[float]) -> float:
    """Round by round: a busy moment slows both."""
    return statistics.median(a / b for a, b in zip(rates, others, strict=True))


def photographs() -> Tensor:
    """Return two opposite corners of each of four photographs: (8, 3, 224, 224) in [0, 1]."""
    shots = (skimage.data.astronaut, skimage.data.chelsea, skimage.data.coffee, skimage.data.rocket)
    whole = [torch.from_numpy(shot()).permute(2, 0, 1).float() / 255 for shot in shots]
    corners = (slice(None, SIDE), slice(-SIDE, None))
    return torch.stack([image[:, corner, corner] for image in whole for corner in corners])


def measure(images: Tensor, labels: Tensor, photos: Tensor, rounds: int) -> dict[str, Any]:
    """Return the record.

    Args:
        images: (N, 3, 32, 32) float in [0, 1]: all are judged, the first ones timed.
        labels: (N,) int64.
        photos: (M, 3, H, W) float in [0, 1], timed only.
        rounds: How often a model is timed.
    """
    return {
        "commit": commit(),
        "versions": records.versions(),
        "threads": torch.get_num_threads(),
        **description(),
        "costs": [
            costs(EXPERIMENT.classifier, images[:BATCH], rounds),
            costs("efficientnet-lite0", photos, rounds),
        ],
        "bfloat16": bfloat16(EXPERIMENT.classifier, images, labels, rounds),
    }


if __name__ == "__main__":
    sample = load_image_set(EXPERIMENT.data, "test").sample(JUDGED, EXPERIMENT.seed)
    pictures = sample.images.float() / 255
    records.save_record(measure(pictures, sample.labels, photographs(), ROUNDS), RECORD)
