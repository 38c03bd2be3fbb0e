"""From what was measured to the record."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from comdefend.attacks import Attack, settings_of
from comdefend.common.processor import processor_name
from comdefend.common.provenance import commit, versions
from comdefend.common.schema import build
from comdefend.data.image_set import ImageSet
from comdefend.evaluation.cells import Cell, each_bound
from comdefend.evaluation.experiment import Experiment
from comdefend.evaluation.findings import (
    SUBMISSIONS,
    Check,
    Code,
    Corruption,
    Defense,
    Detection,
    Resubmission,
)
from comdefend.evaluation.record import THREATS, Data, Record, Row
from comdefend.evaluation.sanity import (
    Left,
    check_attacks,
    check_clean,
    check_queries,
    check_range,
    check_repeats,
)
from comdefend.evaluation.statistics import share_of
from comdefend.evaluation.subjects import Subject
from comdefend.nn.purifier import ComDefend

Measured = Sequence[tuple[Cell, dict[str, Any]]]
"""The cells of one defence with what was measured, in the order of the plan."""


def collect(
    experiment: Experiment,
    data: ImageSet,
    attacks: Mapping[str, Attack],
    measured: Sequence[tuple[Subject, Measured]],
    device: str,
) -> Record:
    """Return the record of everything measured.

    Args:
        experiment: What was measured.
        data: The sample.
        attacks: The experiment's attacks, by name.
        measured: For each defence what was measured.
        device: Where models ran.
    """
    rows: list[Row] = []
    checks: list[Check] = []
    results = [result for _, cells in measured for _, result in cells]
    for subject, cells in measured:
        own = [
            _row(subject, cell, result, attacks, experiment.classifier)
            for cell, result in cells
            if cell.measure in ("clean", *THREATS)
        ]
        rows += own
        found = _checks(experiment, subject, cells, own, attacks, data.class_count)
        checks += [Check(f"{subject.name}: {c.name}", c.passed, c.detail) for c in found]
    return Record(
        name=experiment.name,
        title=experiment.title,
        experiment=experiment.to_dict(),
        data=Data(
            source=experiment.data,
            split="test",
            images=len(data),
            seed=experiment.seed,
            fingerprint=data.fingerprint(),
            classes=data.classes,
        ),
        classifier=experiment.classifier,
        labels=tuple(data.labels.tolist()),
        seed=experiment.seed,
        device=device,
        threads=max(result.get("threads", torch.get_num_threads()) for result in results),
        processor=", ".join(sorted(_processors(results, device))) or None,
        versions=versions(),
        commit=commit(),
        seconds=round(sum(row.seconds for row in rows), 1),
        defenses=tuple(_defense(experiment, subject, cells) for subject, cells in measured),
        results=tuple(rows),
        checks=tuple(checks),
    )


def _processors(results: Sequence[dict[str, Any]], device: str) -> set[str]:
    """Return where cells were measured; those of older versions do not say, and count as here."""
    return {name for r in results if (name := r.get("processor", processor_name(device)))}


def _row(
    subject: Subject,
    cell: Cell,
    result: dict[str, Any],
    attacks: Mapping[str, Attack],
    classifier: str,
) -> Row:
    norm = None
    if cell.attack is not None:
        # A bound is one on every value, also for attacks that look for the smallest change.
        norm = "Linf" if cell.eps else attacks[cell.attack].norm
    detail = ""
    if cell.measure == "transfer":
        detail = f"made on {cell.made_on or classifier}"
    elif cell.measure == "adaptive":
        stand_ins = ", ".join(cell.stand_ins)
        detail = f"for each image the worst of all rows above within this bound and of {stand_ins}"
    share = share_of(result["correct"])
    return Row(
        defense=subject.name,
        threat=cell.measure,
        attack=cell.attack,
        norm=norm,
        eps=cell.bound,
        steps=cell.steps,
        **settings_of(cell),
        rounded=cell.rounded,
        detail=detail,
        images=share.images,
        accuracy=share.accuracy,
        interval=(round(share.low, 4), round(share.high, 4)),
        unrounded_accuracy=result.get("unrounded_accuracy"),
        perturbation_psnr=result.get("perturbation_psnr"),
        correct=result["correct"],
        resubmitted=_resubmitted(result.get("first_wrong", ())),
        seconds=result["seconds"],
    )


def _defense(experiment: Experiment, subject: Subject, cells: Measured) -> Defense:
    results = {cell.measure: result for cell, result in cells}
    purifier, code, detection = subject.purifier, results.get("code"), results.get("detection")
    return Defense(
        name=subject.name,
        **subject.origins(experiment.classifier),
        random=subject.random,
        random_classifier=subject.alone.random,
        psnr=results["fidelity"]["psnr"] if "fidelity" in results else None,
        bpp=purifier.config.bpp if isinstance(purifier, ComDefend) else None,
        code=None if code is None else build(Code, code, "code"),
        detection=None if detection is None else build(Detection, detection, "detection"),
        corruptions=tuple(
            _corruption(str(cell.corruption), result["correct"])
            for cell, result in cells
            if cell.measure == "corruption"
        ),
    )


def _resubmitted(first_wrong: Sequence[int]) -> tuple[Resubmission, ...]:
    """Return what is left after submissions, from the number of the first that went wrong."""
    found = []
    for submissions in SUBMISSIONS if first_wrong else ():
        correct = "".join("1" if first > submissions else "0" for first in first_wrong)
        share = share_of(correct)
        found.append(
            Resubmission(
                submissions=submissions,
                images=share.images,
                accuracy=share.accuracy,
                interval=(round(share.low, 4), round(share.high, 4)),
                correct=correct,
            )
        )
    return tuple(found)


def _corruption(name: str, correct: str) -> Corruption:
    share = share_of(correct)
    return Corruption(
        corruption=name,
        images=share.images,
        accuracy=share.accuracy,
        interval=(round(share.low, 4), round(share.high, 4)),
        correct=correct,
    )


def _checks(
    experiment: Experiment,
    subject: Subject,
    cells: Measured,
    rows: Sequence[Row],
    attacks: Mapping[str, Attack],
    classes: int,
) -> list[Check]:
    results = {cell.measure: result for cell, result in cells}
    hits, images = rows[0].correct.count("1"), rows[0].images
    checks = [check_clean(hits, images, classes)]
    if subject.alone.random:
        checks.append(check_repeats(subject.alone.module, subject.draws))
    if "ranges" in results:
        checks.append(check_range(hits, images, results["ranges"]["ranges"]))
    for plan, eps in each_bound(experiment.query):
        if attacks[plan.attack].deterministic_only and subject.random:
            bound = "" if eps is None else f" {eps:g}/255"
            why = "not measured: it walks along a boundary, and a random defence has none"
            checks.append(Check(f"{plan.attack}{bound}, query", None, why))
    if "sanity" in results:
        left = build(Left, results["sanity"], "sanity")
        checks += [*check_attacks(left), *check_queries(rows, left)]
    return checks
