"""Record how well engines agree: ``python -m tools.engine_equality [--images N]``.

Every engine in every precision against float32 torch: the images, the bits of the code, and the
accuracy of the classifier behind it, on clean images and on images from an oblivious attack on the
bare classifier. Reads CIFAR-10 from ``COMDEFEND_DATA``; the Fashion-MNIST images ship.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import torch
from torch import Tensor, nn

import comdefend
from comdefend.bench.jobs import PRECISIONS
from comdefend.bench.record import Subject
from comdefend.classifiers import open_classifier
from comdefend.common.json_files import save_json
from comdefend.common.processor import Timed, this_machine
from comdefend.data.shipped import fashion_images
from comdefend.data.sources import load_image_set
from comdefend.engines import ENGINES, Engine, open_engine
from comdefend.errors import ExtraMissingError, InputError
from comdefend.nn.batches import batches
from comdefend.nn.metrics import pooled_psnr
from comdefend.nn.purifier import ComDefend
from tools.attacking import BATCH, BIM, Attack, attacked

RECORD = Path(__file__).parent.parent / "docs" / "records" / "engines.json"
SEED = 0


class Split(msgspec.Struct, frozen=True):
    """One figure for clean and one for attacked images."""

    clean: float
    attacked: float

    def __sub__(self, other: Self) -> "Split":
        return Split(self.clean - other.clean, self.attacked - other.attacked)


class EngineRow(Subject, frozen=True, kw_only=True):
    """One engine in one precision against float32 torch.

    Attributes:
        psnr: Between the purified clean images, in dB; None where they are equal.
        flipped_bits: Share of the bits of the clean images' code that differ.
        accuracy: Of the classifier behind it, 0 to 1.
        change: That accuracy minus the one with float32 torch.
    """

    psnr: float | None
    flipped_bits: float
    accuracy: Split
    change: Split


class LeftOut(Subject, frozen=True, kw_only=True):
    """What could not be opened, and why."""

    reason: str


class EngineSet(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured on one set of images; ``bare`` is the classifier's own accuracy."""

    data: str
    classifier: str
    images: int
    bare: Split
    rows: tuple[EngineRow, ...]
    left_out: tuple[LeftOut, ...]


class Engines(Timed, frozen=True, kw_only=True):
    """What was measured, with which attack."""

    attack: Attack
    seed: int
    sets: tuple[EngineSet, ...]


class Outputs(msgspec.Struct):
    """What a purifier makes of clean and attacked images."""

    code: Tensor
    images: dict[str, Tensor]


def measure_set(
    data: str,
    classifier_name: str,
    weights: Sequence[str],
    images: Tensor,
    labels: Tensor,
    engines: Sequence[str] = tuple(ENGINES),
    precisions: Sequence[str] = PRECISIONS,
) -> EngineSet:
    """Compare engines on a set of images.

    Args:
        data: What the record calls the images.
        classifier_name: A shipped classifier of such images.
        weights: Purifiers of such images.
        images: (N, C, H, W) float in [0, 1].
        labels: (N,) int64.
        engines: Which to compare.
        precisions: Which to try with each.
    """
    classifier = open_classifier(classifier_name)
    shown = {"clean": images, "attacked": attacked(classifier, images, labels, BIM, SEED)}
    rows, left_out = [], []
    for name in weights:
        purifier = comdefend.load(name)
        reference = _outputs(purifier, shown)
        expected = _accuracies(classifier, reference.images, labels)
        for engine_name in engines:
            for precision in precisions:
                subject = {"weights": name, "engine": engine_name, "precision": precision}
                try:
                    engine = open_engine(purifier, engine_name, precision)
                except (InputError, ExtraMissingError) as error:
                    left_out.append(LeftOut(**subject, reason=str(error)))
                    continue
                outputs = _outputs(engine, shown)
                accuracy = _accuracies(classifier, outputs.images, labels)
                psnr = pooled_psnr(outputs.images["clean"], reference.images["clean"])
                row = EngineRow(
                    **subject,
                    psnr=psnr if psnr < float("inf") else None,
                    flipped_bits=(outputs.code != reference.code).float().mean().item(),
                    accuracy=accuracy,
                    change=accuracy - expected,
                )
                rows.append(row)
    return EngineSet(
        data=data,
        classifier=classifier_name,
        images=len(images),
        bare=_accuracies(classifier, shown, labels),
        rows=tuple(rows),
        left_out=tuple(left_out),
    )


@torch.inference_mode()
def _outputs(purifier: ComDefend | Engine, shown: dict[str, Tensor]) -> Outputs:
    """Return the clean images' code, and purified images; engines compute these separately."""

    def through(step: Any, images: Tensor) -> Tensor:
        return torch.cat([step(images[part]) for part in batches(len(images), BATCH)])

    purified = {kind: through(purifier, images) for kind, images in shown.items()}
    return Outputs(through(purifier.encode, shown["clean"]).bool(), purified)


@torch.inference_mode()
def _accuracies(classifier: nn.Module, shown: dict[str, Tensor], labels: Tensor) -> Split:
    """Return the accuracy of a classifier, in float32 torch."""

    def accuracy(images: Tensor) -> float:
        parts = [classifier(images[part]) for part in batches(len(images), BATCH)]
        return (torch.cat(parts).argmax(1) == labels).float().mean().item()

    return Split(accuracy(shown["clean"]), accuracy(shown["attacked"]))


def measure(count: int) -> Engines:
    """Return the record, with so many CIFAR-10 test images."""
    sample = load_image_set("cifar10", "test").sample(count, SEED)
    fashion, labels = fashion_images()
    names: dict[int, list[str]] = {1: [], 3: []}
    for name in comdefend.weights():
        names[comdefend.load(name).config.channels].append(name)
    cifar10 = sample.images.float() / 255
    return Engines(
        **this_machine(),
        threads=torch.get_num_threads(),
        attack=BIM,
        seed=SEED,
        sets=(
            measure_set("cifar10", "cifar10-small", names[3], cifar10, sample.labels),
            measure_set(
                "fashion-mnist", "fashion-mnist-small", names[1], fashion.float() / 255, labels
            ),
        ),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record how well engines agree.")
    parser.add_argument("--images", type=int, default=500, help="CIFAR-10 test images")
    save_json(measure(parser.parse_args().images), RECORD)
