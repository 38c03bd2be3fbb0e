"""How each kind of cell is measured: a function from a cell to plain JSON values."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from comdefend.common import schema
from comdefend.common.processor import processor_name
from comdefend.errors import out_of_memory
from comdefend.evaluation.attacker import OWN, Attacker
from comdefend.evaluation.binary_code import code_statistics, random_signs
from comdefend.evaluation.cells import Cell, Measure
from comdefend.evaluation.detection import DETECTED_IMAGES, detection_statistics
from comdefend.evaluation.findings import Detection
from comdefend.evaluation.judge import NEVER, Judge, attack_standing, from_bits, to_bits
from comdefend.evaluation.sanity import Left, other_ranges
from comdefend.evaluation.subjects import OpenedClassifier, Subject
from comdefend.nn.batches import apply, device_of
from comdefend.nn.metrics import peak_signal_noise_ratio, round_to_8_bits
from comdefend.nn.purifier import ComDefend

Result = dict[str, Any]

SANITY_STEPS = 20
"""Of the PGD that sanity checks are made with."""


@dataclass(frozen=True)
class Workbench:
    """What measuring needs.

    Attributes:
        subject: The defence that is measured.
        attacker: Who attacks.
        judge: Who decides what is classified correctly.
        main: The experiment's own classifier.
        sources: Classifiers that single attacks are made on, by name.
        corruptions: What happens to images without an attacker, by name.
        before: Digest of each cell that a cell starts from -> what was measured.
    """

    subject: Subject
    attacker: Attacker
    judge: Judge
    main: OpenedClassifier
    sources: Mapping[str, OpenedClassifier]
    corruptions: Mapping[str, nn.Module]
    before: Mapping[str, Result] = field(default_factory=dict)

    @property
    def images(self) -> Tensor:
        """The sample, (N, C, H, W) in [0, 1]."""
        return self.judge.images

    def attacked(self, cell: Cell, eps: float | None) -> Tensor:
        """Return images attacked on the cell's classifier alone, not rounded."""
        classifier = self.main if cell.measure == "transfer" else self.subject.alone
        if cell.made_on is not None:
            classifier = self.sources[cell.made_on]
        assert cell.attack is not None
        return self.attacker.alone(classifier, cell.attack, eps, cell.steps, cell.images, cell)


def measured(at: Workbench, cell: Cell) -> Result:
    """Return what there is to measure in a cell, how many seconds it took, and where."""
    started = time.perf_counter()
    result = MEASURES[cell.measure](at, cell)
    return {
        **result,
        "seconds": round(time.perf_counter() - started, 2),
        "threads": torch.get_num_threads(),
        "processor": processor_name(device_of(at.subject.classifier)),
    }


def keys_alone(at: Workbench, cell: Cell) -> list[dict[str, object]]:
    """Return the keys of all images attacked on a classifier alone that a cell asks for."""
    sanity = cell.measure == "sanity"
    attack, steps = ("pgd", SANITY_STEPS) if sanity else (cell.attack, cell.steps)
    if not cell.source or attack is None:
        return []
    settings = OWN if sanity else cell
    return [
        at.attacker.key_alone(cell.source, attack, eps, steps, cell.images, settings)
        for eps in cell.eps or (None,)
    ]


def _judged(at: Workbench, images: Tensor) -> Result:
    """Return the verdicts on images, and, where anything draws at random, on submitting them."""
    correct = to_bits(at.judge.verdicts(at.subject, images))
    if not at.subject.random:
        return {"correct": correct}
    return {"correct": correct, "first_wrong": at.judge.first_wrong(at.subject, images).tolist()}


def _clean(at: Workbench, cell: Cell) -> Result:
    return _judged(at, at.images)


def _alone(at: Workbench, cell: Cell) -> Result:
    """Oblivious and transfer attacks."""
    moved = at.attacked(cell, cell.bound)
    seen = round_to_8_bits(moved) if cell.rounded else moved
    result = {
        **_judged(at, seen),
        "perturbation_psnr": peak_signal_noise_ratio(seen, at.images[: len(moved)]).item(),
    }
    if at.subject.purifier is None:
        right = at.judge.verdicts(at.subject, moved)
        result["unrounded_accuracy"] = right.float().mean().item()
    return result


def _through(at: Workbench, cell: Cell) -> Result:
    """Query attacks, and adaptive ones, which start from what is broken already."""
    assert cell.attack is not None
    query = cell.measure == "query"
    start = (
        [_judged(at, at.images[: cell.images])]
        if query
        else [at.before[digest] for digest in cell.after]
    )
    standing, first = _worst(start, cell.images)

    def submit(images: Tensor, indices: Tensor) -> None:
        if at.subject.random:
            first[indices] = at.judge.first_wrong(at.subject, images, indices, first[indices])

    left = attack_standing(
        at.attacker, at.judge, at.subject, standing, cell.attack, cell.bound, cell.steps,
        cell.stand_ins, submit, cell,
    )  # fmt: skip
    result: Result = {"correct": to_bits(left)}
    return {**result, "first_wrong": first.tolist()} if at.subject.random else result


def _worst(results: Iterable[Result], count: int) -> tuple[Tensor, Tensor]:
    """Return what is left of the first images of several cells, and when each is first wrong."""
    standing = torch.ones(count, dtype=torch.bool)
    first = torch.full((count,), NEVER)
    for result in results:
        verdicts = from_bits(result["correct"])[:count]
        standing[: len(verdicts)] &= verdicts
        numbers = torch.tensor(result.get("first_wrong", []), dtype=torch.int64)[:count]
        first[: len(numbers)] = first[: len(numbers)].minimum(numbers)
    return standing, first


def _fidelity(at: Workbench, cell: Cell) -> Result:
    purified = round_to_8_bits(at.judge.purify(at.subject, at.images))
    return {"psnr": peak_signal_noise_ratio(purified, at.images).item()}


def _code(at: Workbench, cell: Cell) -> Result:
    """Return what the code does under the usual oblivious attack, and under chance."""
    purifier = at.subject.purifier
    assert isinstance(purifier, ComDefend)
    changed: list[tuple[str, float, Tensor]] = []
    for eps in cell.eps:
        attacked = round_to_8_bits(at.attacked(cell, eps))
        signs = random_signs(at.images[: len(attacked)], eps, cell.seed)
        changed += [(str(cell.attack), eps, attacked), ("random", eps, signs)]

    def purify(images: Tensor) -> Tensor:
        return at.judge.purify(at.subject, images)

    return schema.to_plain(code_statistics(purifier, at.images, changed, purify))


def _detection(at: Workbench, cell: Cell) -> Result:
    about = {"attack": str(cell.attack), "eps": cell.bound, "threat": "oblivious"}
    if cell.images < DETECTED_IMAGES:
        why = f"{cell.images} of at least {DETECTED_IMAGES} images"
        return schema.to_plain(Detection(**about, skipped=why))  # type: ignore[arg-type]
    attacked = round_to_8_bits(at.attacked(cell, cell.bound))
    statistics = detection_statistics(
        at.subject.classifier, lambda x: at.judge.purify(at.subject, x), at.images, attacked
    )
    return {**about, **statistics}


def _corruption(at: Workbench, cell: Cell) -> Result:
    corruption = at.corruptions[str(cell.corruption)]
    images = round_to_8_bits(apply(corruption, at.images, cell.seed))
    return {"correct": to_bits(at.judge.verdicts(at.subject, images))}


def _ranges(at: Workbench, cell: Cell) -> Result:
    """Return how many images are classified correctly in other ranges of values."""
    mean, std = cell.normalisation or (None, None)
    hits = []
    for what, meaning, images in other_ranges(at.images, mean, std):
        try:
            logits = apply(at.subject.classifier, images)
        # It may refuse images in another range, which then is not the one it expects.
        except Exception as error:
            if out_of_memory(error):
                raise
            continue
        hits.append([what, meaning, int((logits.argmax(1) == at.judge.labels).sum())])
    return {"ranges": hits}


def _sanity(at: Workbench, cell: Cell) -> Result:
    """Attack a few images in ways that must agree with each other."""
    eps, count = cell.eps[0], cell.images
    clean = at.judge.verdicts(at.subject, at.images[:count])

    def left_after(bound: float, steps: int) -> Tensor:
        return attack_standing(
            at.attacker, at.judge, at.subject, clean, "pgd", bound, steps, cell.stand_ins
        )

    attacked = at.attacker.alone(at.subject.alone, "pgd", eps, SANITY_STEPS, count)
    oblivious = at.judge.verdicts(at.subject, round_to_8_bits(attacked)) & clean
    standing = left_after(eps, SANITY_STEPS)
    left = Left(
        images=count,
        eps=eps,
        unbounded=int(left_after(255, SANITY_STEPS).sum()),
        few=int(left_after(eps, 5).sum()),
        many=int(standing.sum()),
        oblivious=int(oblivious.sum()),
        standing=to_bits(standing),
    )
    return schema.to_plain(left)


MEASURES: dict[Measure, Callable[[Workbench, Cell], Result]] = {
    "clean": _clean,
    "oblivious": _alone,
    "transfer": _alone,
    "query": _through,
    "adaptive": _through,
    "fidelity": _fidelity,
    "code": _code,
    "detection": _detection,
    "corruption": _corruption,
    "ranges": _ranges,
    "sanity": _sanity,
}
"""Measure -> how."""
