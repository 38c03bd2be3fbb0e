"""Record how equal engines are: ``python tools/engine_equality.py [--images N]``.

Every engine in every precision against float32 torch: the images, the code's bits, and the accuracy
of the classifier behind it, on clean images and on those that an oblivious attack made once on the
bare classifier. Takes CIFAR-10 from ``COMDEFEND_DATA``; the Fashion-MNIST images ship.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import comdefend
from comdefend.attacks import run_attack
from comdefend.classifiers import open_classifier
from comdefend.common.processor import description
from comdefend.common.provenance import commit
from comdefend.data.shipped import fashion_images
from comdefend.data.sources import load_image_set
from comdefend.engines import ENGINES, Engine, open_engine
from comdefend.errors import ExtraMissingError, InputError
from comdefend.evaluation import record as records
from comdefend.nn.batches import batches
from comdefend.nn.metrics import pooled_psnr
from comdefend.nn.purifier import ComDefend

RECORD = Path(__file__).parent.parent / "docs" / "records" / "engines.json"
PRECISIONS = ("float32", "bfloat16", "int8")
ATTACK: dict[str, Any] = {"attack": "bim", "eps": 8, "steps": 10}
BATCH, SEED = 50, 0

Shown = dict[str, Tensor]
"""``clean`` and ``attacked`` -> (N, C, H, W) float in [0, 1]."""


def measure_set(
    data: str, classifier_name: str, weights: list[str], images: Tensor, labels: Tensor
) -> dict[str, Any]:
    """Return what each engine makes of a set of images, for each purifier.

    Args:
        data: What the record calls the images.
        classifier_name: A shipped classifier of such images.
        weights: Purifiers of such images.
        images: (N, C, H, W) float in [0, 1].
        labels: (N,) int64.
    """
    classifier = open_classifier(classifier_name)
    attacked = [
        run_attack(classifier, images[part], labels[part], **ATTACK, seed=SEED)
        for part in batches(len(images), BATCH)
    ]
    shown = {"clean": images, "attacked": torch.cat(attacked)}
    bare = _correct(classifier, {kind: (None, found) for kind, found in shown.items()}, labels)
    rows: list[dict[str, Any]] = []
    left_out = []
    for name in weights:
        purifier = comdefend.load(name)
        reference = _outputs(purifier, shown)
        expected = _correct(classifier, reference, labels)
        for engine_name in ENGINES:
            for precision in PRECISIONS:
                about = {"weights": name, "engine": engine_name, "precision": precision}
                try:
                    engine = open_engine(purifier, engine_name, precision)
                except (InputError, ExtraMissingError) as error:
                    left_out.append({**about, "reason": str(error)})
                    continue
                found = _outputs(engine, shown)
                correct = _correct(classifier, found, labels)
                rows.append({**about, **_compared(found, reference, correct, expected)})
    return {
        "data": data,
        "classifier": classifier_name,
        "images": len(images),
        "bare": {kind: _share(hits) for kind, hits in bare.items()},
        "rows": rows,
        "left_out": left_out,
    }


@torch.inference_mode()
def _outputs(purifier: ComDefend | Engine, shown: Shown) -> dict[str, tuple[Any, Tensor]]:
    """Return codes and purified images; engines compute these by graphs of their own."""
    found = {}
    for kind, images in shown.items():
        parts = list(batches(len(images), BATCH))
        codes = [purifier.encode(images[part]) for part in parts]
        purified = [purifier(images[part]) for part in parts]
        found[kind] = torch.cat(codes).bool(), torch.cat(purified)
    return found


@torch.inference_mode()
def _correct(
    classifier: nn.Module, outputs: dict[str, tuple[Any, Tensor]], labels: Tensor
) -> dict[str, Tensor]:
    """Return which images the classifier, in float32 torch, gets right."""
    return {
        kind: torch.cat([classifier(images[p]) for p in batches(len(images), BATCH)]).argmax(1)
        == labels
        for kind, (_, images) in outputs.items()
    }


def _compared(
    found: dict[str, tuple[Any, Tensor]],
    reference: dict[str, tuple[Any, Tensor]],
    correct: dict[str, Tensor],
    expected: dict[str, Tensor],
) -> dict[str, Any]:
    """Return PSNR and differing bits on clean images, accuracies, and their change."""
    (code, images), (wanted_code, wanted) = found["clean"], reference["clean"]
    psnr = pooled_psnr(images, wanted)
    return {
        # Nothing where the outputs are equal.
        "psnr": psnr if psnr < float("inf") else None,
        "flipped_bits": (code != wanted_code).float().mean().item(),
        "accuracy": {kind: _share(hits) for kind, hits in correct.items()},
        "change": {kind: _share(hits) - _share(expected[kind]) for kind, hits in correct.items()},
    }


def _share(hits: Tensor) -> float:
    return hits.float().mean().item()


def measure(count: int) -> dict[str, Any]:
    """Return the record, with so many CIFAR-10 test images."""
    sample = load_image_set("cifar10", "test").sample(count, SEED)
    fashion, labels = fashion_images()
    channels = {name: comdefend.load(name).config.channels for name in comdefend.weights()}
    by_channels = {c: [name for name in channels if channels[name] == c] for c in (1, 3)}
    return {
        "commit": commit(),
        "versions": records.versions(),
        "threads": torch.get_num_threads(),
        **description(),
        "attack": ATTACK,
        "seed": SEED,
        "sets": [
            measure_set(
                "cifar10",
                "cifar10-small",
                by_channels[3],
                sample.images.float() / 255,
                sample.labels,
            ),
            measure_set(
                "fashion-mnist",
                "fashion-mnist-small",
                by_channels[1],
                fashion.float() / 255,
                labels,
            ),
        ],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record how equal engines are.")
    parser.add_argument("--images", type=int, default=500, help="CIFAR-10 test images")
    records.save_record(measure(parser.parse_args().images), RECORD)
