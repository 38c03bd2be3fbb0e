"""Record what defences cost, and what bfloat16 changes: ``python -m tools.defense_cost``.

Reads CIFAR-10 from ``COMDEFEND_DATA``, and photographs from scikit-image. Models take turns, round
after round, so that a busy moment slows all of them alike; medians are recorded.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import skimage.data
import torch
from torch import Tensor

from comdefend.classifiers import open_classifier
from comdefend.common.json_files import save_json
from comdefend.common.processor import Timed, this_machine
from comdefend.data.sources import load_image_set
from comdefend.defenses import DefendedClassifier, load_defense
from comdefend.evaluation.loading import load_experiment
from comdefend.nn.batches import batches
from comdefend.nn.metrics import peak_signal_noise_ratio
from comdefend.zoo import load
from tools.attacking import BIM, Attack, attacked

RECORD = Path(__file__).parent.parent / "docs" / "records" / "defense-cost.json"
EXPERIMENT = load_experiment("cifar10")
PURIFIER = "rgb-12bpp"
BATCH, JUDGED, ROUNDS, SIDE = 64, 500, 7, 224

Model = Callable[[Tensor], Tensor]


class Speed(msgspec.Struct, frozen=True):
    """Images per second of a classifier behind a defence, and their ratio to no defence."""

    defense: str
    rate: float
    ratio: float


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What defences cost before a classifier, on images of a shape (N, C, H, W)."""

    classifier: str
    shape: tuple[int, int, int, int]
    rounds: int
    rows: tuple[Speed, ...]


class Precisions(msgspec.Struct, frozen=True):
    """One figure for float32 and one for bfloat16."""

    float32: float
    bfloat16: float


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What bfloat16 changes on one kind of images.

    Attributes:
        defense: ``none`` or the purifier.
        images: ``clean``, or the attack.
        changed: How many images are put into another class.
        accuracy: 0 to 1.
        bits: Share of the code's bits that differ; None without a purifier.
        psnr: Between the purified images, in dB; None without a purifier.
    """

    defense: str
    images: str
    changed: int
    accuracy: Precisions
    bits: float | None = None
    psnr: float | None = None


class Gain(msgspec.Struct, frozen=True, kw_only=True):
    """Images per second in both precisions, and their ratio; above 1 bfloat16 is faster."""

    defense: str
    float32: float
    bfloat16: float
    ratio: float


class Bfloat16(msgspec.Struct, frozen=True, kw_only=True):
    """What bfloat16 changes, with which classifier, data and attack, and how fast it is."""

    classifier: str
    data: str
    images: int
    seed: int
    attack: Attack
    batch: int
    rounds: int
    rows: tuple[Changed, ...]
    speeds: tuple[Gain, ...]


class DefenseCost(Timed, frozen=True, kw_only=True):
    """What was measured."""

    costs: tuple[Costs, ...]
    bfloat16: Bfloat16


@torch.inference_mode()
def speeds(models: dict[str, Model], images: Tensor, rounds: int) -> dict[str, list[float]]:
    """Return each model's images per second in every round; one round before them warms up."""
    rates: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            started = time.perf_counter()
            model(images)
            if turn > 0:
                rates[name].append(len(images) / (time.perf_counter() - started))
    return rates


def costs(spec: str, images: Tensor, rounds: int) -> Costs:
    """Return the speed of a classifier behind each defence of the experiment."""
    classifier = open_classifier(spec)
    models: dict[str, Model] = {"none": classifier}
    for plan in EXPERIMENT.defenses:
        if isinstance(plan.purifier, str) and plan.purifier != "none":
            models[plan.name] = DefendedClassifier(load_defense(plan.purifier).eval(), classifier)
    rates = speeds(models, images, rounds)
    rows = [
        Speed(name, statistics.median(found), _ratio(found, rates["none"]))
        for name, found in rates.items()
    ]
    count, channels, height, width = images.shape
    return Costs(
        classifier=spec, shape=(count, channels, height, width), rounds=rounds, rows=tuple(rows)
    )


def bfloat16(spec: str, images: Tensor, labels: Tensor, rounds: int) -> Bfloat16:
    """Return what bfloat16 changes about a classifier, alone and behind the purifier."""
    classifier, purifier = open_classifier(spec), load(PURIFIER)
    shown = {
        "clean": images,
        BIM.attack: attacked(classifier, images, labels, BIM, EXPERIMENT.seed),
    }
    stages: dict[str, list[Model]] = {
        "none": [classifier],
        PURIFIER: [purifier.encode, purifier.decode, classifier],
    }
    rows = [
        _changed(name, steps, kind, some, labels)
        for name, steps in stages.items()
        for kind, some in shown.items()
    ]
    models: dict[str, Model] = {
        "none": classifier,
        PURIFIER: DefendedClassifier(purifier, classifier),
    }
    return Bfloat16(
        classifier=spec,
        data=EXPERIMENT.data,
        images=len(images),
        seed=EXPERIMENT.seed,
        attack=BIM,
        batch=min(BATCH, len(images)),
        rounds=rounds,
        rows=tuple(rows),
        speeds=tuple(_gain(name, model, images[:BATCH], rounds) for name, model in models.items()),
    )


def _changed(
    name: str, steps: Sequence[Model], kind: str, images: Tensor, labels: Tensor
) -> Changed:
    exact, rough = (outputs(steps, images, low) for low in (False, True))
    classes = [out[-1].argmax(1) for out in (exact, rough)]
    purified = len(steps) > 1
    return Changed(
        defense=name,
        images=kind,
        changed=int((classes[0] != classes[1]).sum()),
        accuracy=Precisions(*(int((c == labels).sum()) / len(c) for c in classes)),
        bits=(exact[0] != rough[0]).float().mean().item() if purified else None,
        psnr=peak_signal_noise_ratio(rough[1], exact[1]).item() if purified else None,
    )


def _gain(name: str, model: Model, images: Tensor, rounds: int) -> Gain:
    low = torch.autocast("cpu", torch.bfloat16)(model)
    rates = speeds({"float32": model, "bfloat16": low}, images, rounds)
    return Gain(
        defense=name,
        float32=statistics.median(rates["float32"]),
        bfloat16=statistics.median(rates["bfloat16"]),
        ratio=_ratio(rates["bfloat16"], rates["float32"]),
    )


@torch.inference_mode()
def outputs(stages: Sequence[Model], images: Tensor, low: bool) -> list[Tensor]:
    """Return the output of each stage, which is the input of the next; in bfloat16 if ``low``."""
    results = []
    for stage in stages:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            images = torch.cat([stage(images[p]).float() for p in batches(len(images), BATCH)])
        results.append(images)
    return results


def _ratio(rates: Sequence[float], others: Sequence[float]) -> float:
    """Compare round by round, so that a busy moment slows both."""
    return statistics.median(a / b for a, b in zip(rates, others, strict=True))


def photographs() -> Tensor:
    """Return two opposite corners of each of four photographs: (8, 3, 224, 224) in [0, 1]."""
    shots = (skimage.data.astronaut, skimage.data.chelsea, skimage.data.coffee, skimage.data.rocket)
    whole = [torch.from_numpy(shot()).permute(2, 0, 1).float() / 255 for shot in shots]
    corners = (slice(None, SIDE), slice(-SIDE, None))
    return torch.stack([image[:, corner, corner] for image in whole for corner in corners])


def measure(images: Tensor, labels: Tensor, photos: Tensor, rounds: int) -> DefenseCost:
    """Return the record.

    Args:
        images: (N, 3, 32, 32) float in [0, 1]: all are judged, the first ones timed.
        labels: (N,) int64.
        photos: (M, 3, H, W) float in [0, 1], timed only.
        rounds: How often a model is timed.
    """
    return DefenseCost(
        **this_machine(),
        threads=torch.get_num_threads(),
        costs=(
            costs(EXPERIMENT.classifier, images[:BATCH], rounds),
            costs("efficientnet-lite0", photos, rounds),
        ),
        bfloat16=bfloat16(EXPERIMENT.classifier, images, labels, rounds),
    )


if __name__ == "__main__":
    sample = load_image_set(EXPERIMENT.data, "test").sample(JUDGED, EXPERIMENT.seed)
    pictures = sample.images.float() / 255
    save_json(measure(pictures, sample.labels, photographs(), ROUNDS), RECORD)
