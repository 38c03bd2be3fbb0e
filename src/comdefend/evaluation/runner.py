"""Running an experiment: every defence against every attack, image by image."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from comdefend.attacks import ATTACKS, Expectation, run_attack
from comdefend.common.atomic import atomic_write, make_folder
from comdefend.common.provenance import commit
from comdefend.common.store import Store
from comdefend.data.image_set import ImageSet
from comdefend.data.sources import load_image_set
from comdefend.defenses import is_random, load_defense
from comdefend.errors import InputError
from comdefend.evaluation import record as records
from comdefend.evaluation.code import code_statistics, random_signs
from comdefend.evaluation.detection import detection_statistics
from comdefend.evaluation.experiment import AttackPlan, Experiment
from comdefend.evaluation.panels import choose, make_panels
from comdefend.evaluation.purified import Purified
from comdefend.evaluation.sanity import (
    Left,
    check,
    check_attacks,
    check_clean,
    check_queries,
    check_range,
    other_ranges,
)
from comdefend.evaluation.subjects import Subject, Subjects
from comdefend.nn.batches import apply, batches, device_of, images_at_once
from comdefend.nn.metrics import peak_signal_noise_ratio, round_to_8_bits
from comdefend.nn.purifier import ComDefend
from comdefend.report.html import write_report
from comdefend.report.summary import markdown_table

# Bound that detection and the sanity checks take, or the nearest one that the experiment has.
USUAL_EPS = 8
# Images that detection needs: half of them set the threshold, and two make no share of the others.
_DETECTED = 4

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the number of finished steps and that of all steps.

Before the first step, while models are trained, both numbers are 0.
"""


def run_experiment(
    experiment: Experiment,
    output: Path,
    device: str = "cpu",
    progress: Progress = lambda label, done, total: None,
) -> dict[str, Any]:
    """Run an experiment, and write ``record.json``, ``table.md`` and ``report.html``.

    What is done already, in a run that was stopped, is not done again.

    Args:
        experiment: What to measure.
        output: A folder; finished results are kept below it.
        device: Where models run.
        progress: Told of every step.

    Returns:
        The record.

    Raises:
        InputError: The classifier does not fit the data, or returns something else than logits.
        DataMissingError: Data or weights are not there.
        OutputError: The folder cannot be written.
    """
    evaluation = _Evaluation(experiment, output, device, lambda label: progress(label, 0, 0))
    steps = list(evaluation.steps())
    for done, (label, step) in enumerate(steps):
        progress(label, done, len(steps))
        step()
    progress("done", len(steps), len(steps))
    record = evaluation.record()
    records.save_record(record, output / "record.json")
    atomic_write(output / "table.md", markdown_table(record).encode())
    # Images may not be ours to give away: they are in the report alone, which stays where it is.
    write_report({**record, "panels": evaluation.panels()}, output / "report.html")
    return record


# Name, bound and steps.
_Attack = tuple[str, float | None, int | None]
# Images of the sample, attacked at once where that takes long.
_PIECE = 50


class _Evaluation:
    """An experiment in progress."""

    def __init__(
        self, experiment: Experiment, output: Path, device: str, announce: Callable[[str], None]
    ) -> None:
        self.experiment, self.output, self.device = experiment, output, device
        self.store = Store(output / "cells", {"versions": records.versions(), "device": device})
        self.data = _sample(experiment)
        self.images = self.data.images.float() / 255
        self.labels = self.data.labels
        self.data_key = self.data.fingerprint()
        self.purified = Purified()
        self.rows: list[dict[str, Any]] = []
        self.checks: list[dict[str, Any]] = []
        self.about: list[dict[str, Any]] = []
        subjects = Subjects(experiment, output, device, self.images, self.labels, announce)
        self.main = subjects.main()
        # Only now: what cannot start should not leave a folder; nor should an output that cannot
        # be written cost an hour.
        make_folder(output)
        self.corruptions = {name: load_defense(name) for name in experiment.corruptions}
        self.subjects = [subjects.open(plan, self.main) for plan in experiment.defenses]

    def steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield what there is to do, with a label each; later steps build on earlier ones."""
        plan = self.experiment
        for subject in self.subjects:
            name = subject.plan.name
            yield f"{name}: clean images", partial(self._clean, subject)
            for attack, eps in _each(plan.oblivious):
                label = f"{name}: {_title(attack, eps)}"
                yield label, partial(self._oblivious, subject, attack, eps, False)
                if subject.classifier_key != self.main[1]:
                    step = partial(self._oblivious, subject, attack, eps, True)
                    yield f"{label}, transfer", step
            for attack, eps in _each(plan.query):
                # HopSkipJump walks along a boundary, which a random defence does not have.
                walks = attack.attack == "hopskipjump" and subject.draws > 1
                label = f"{name}: {_title(attack, eps)}, query"
                made = self._not_walked if walks else self._query
                yield label, partial(made, subject, attack, eps)
            # From small bounds to large ones: what breaks within a small one is broken.
            for attack, eps in sorted(_each(plan.adaptive), key=lambda pair: pair[1] or 0):
                label = f"{name}: {_title(attack, eps)}, adaptive"
                yield label, partial(self._adaptive, subject, attack, eps)
            if subject.purifier is not None:
                yield f"{name}: detection", partial(self._detection, subject)
            for corruption in self.corruptions:
                yield f"{name}: {corruption}", partial(self._corrupted, subject, corruption)
            if plan.checks:
                yield f"{name}: sanity checks", partial(self._sanity, subject)

    def record(self) -> dict[str, Any]:
        """Return the record of everything measured."""
        experiment, data = self.experiment, self.data
        return {
            "format": records.FORMAT,
            "name": experiment.name,
            "title": experiment.title,
            "experiment": experiment.to_dict(),
            "data": {
                "source": experiment.data,
                "split": "test",
                "images": len(data),
                "seed": experiment.seed,
                "fingerprint": self.data_key,
                "classes": list(data.classes),
            },
            "classifier": experiment.classifier,
            "labels": self.labels.tolist(),
            "seed": experiment.seed,
            "device": self.device,
            "threads": torch.get_num_threads(),
            "versions": records.versions(),
            "commit": commit(),
            "seconds": round(sum(row["seconds"] for row in self.rows), 1),
            "defenses": self.about,
            "rows": self.rows,
            "checks": self.checks,
        }

    def panels(self, count: int = 6) -> list[dict[str, Any]]:
        """Return example images of the first learned purifier, or else the first of any kind."""
        usual = _usual(self.experiment.oblivious)
        shields = [s for s in self.subjects if s.purifier is not None]
        if usual is None or not shields:
            return []
        subject = next((s for s in shields if isinstance(s.purifier, ComDefend)), shields[0])
        assert subject.purifier is not None
        found = self._attacked((subject.classifier, subject.classifier_key), *usual)
        attacked = round_to_8_bits(found)
        bare = apply(subject.classifier, attacked).argmax(1) == self.labels[: len(found)]
        defended = self._verdicts(subject, attacked, torch.arange(len(found)))
        chosen = choose(self.labels[: len(found)], bare, defended, count)
        panels = make_panels(
            subject.classifier, subject.purifier, self.images[chosen], attacked[chosen],
            self.labels[chosen], self.data.classes, self.experiment.seed,
        )  # fmt: skip
        return [{"defense": subject.plan.name, **panel} for panel in panels]

    def _clean(self, subject: Subject) -> None:
        row = self._row(
            subject, "clean", None, None, lambda: self._judged(subject, self.images), detail=""
        )
        purifier = subject.purifier
        about: dict[str, Any] = {
            "name": subject.plan.name,
            **subject.origins(self.experiment.classifier),
            "random": purifier is not None and is_random(purifier),
            "psnr": None,
            "bpp": None,
            "code": None,
            "detection": None,
            "corruptions": [],
        }
        if purifier is not None:
            about["psnr"] = self.store.result(
                {
                    "what": "psnr",
                    "of": subject.key,
                    "data": self.data_key,
                    "seed": self.experiment.seed,
                },
                lambda: {"psnr": self._psnr(subject)},
            )["psnr"]
        if isinstance(purifier, ComDefend):
            about["bpp"] = purifier.config.bpp
            about["code"] = self._code(subject, purifier)
        self.about.append(about)
        hits = row["correct"].count("1")
        self._check(subject, check_clean(hits, row["images"], self.data.class_count))
        if purifier is None:
            self._check(subject, check_range(hits, row["images"], self._in_other_ranges(subject)))

    def _in_other_ranges(self, subject: Subject) -> list[tuple[str, str, int]]:
        own = subject.classifier_key == self.main[1]
        mean, std = (self.experiment.mean, self.experiment.std) if own else (None, None)

        def measure() -> dict[str, Any]:
            found = []
            for what, meaning, images in other_ranges(self.images, mean, std):
                try:
                    logits = apply(subject.classifier, images)
                # It may refuse images in another range, which then is not the one it expects.
                except Exception:
                    continue
                found.append((what, meaning, int((logits.argmax(1) == self.labels).sum())))
            return {"found": found}

        key = {"what": "ranges", "of": subject.key, "data": self.data_key, "mean": mean, "std": std}
        return [tuple(other) for other in self.store.result(key, measure)["found"]]

    def _oblivious(
        self, subject: Subject, plan: AttackPlan, eps: float | None, transfer: bool
    ) -> None:
        def measure() -> dict[str, Any]:
            source = self.main if transfer else (subject.classifier, subject.classifier_key)
            found = self._attacked(source, plan, eps)
            result = self._judged(subject, round_to_8_bits(found))
            if subject.purifier is None:
                raw = self._judged(subject, found)["correct"]
                result["unrounded_accuracy"] = raw.count("1") / len(raw)
            psnr = peak_signal_noise_ratio(round_to_8_bits(found), self.images[: len(found)])
            return result | {"perturbation_psnr": psnr.item()}

        threat = "transfer" if transfer else "oblivious"
        detail = f"made on {self.experiment.classifier}" if transfer else ""
        self._row(subject, threat, plan, eps, measure, detail)

    def _adaptive(self, subject: Subject, plan: AttackPlan, eps: float | None) -> None:
        count = plan.images or len(self.images)
        known = [
            row
            for row in self.rows
            if row["defense"] == subject.plan.name and _within(row, plan.attack, eps)
        ]

        def measure() -> dict[str, Any]:
            standing = torch.ones(count, dtype=torch.bool)
            for row in known:
                verdicts = _bools(row["correct"])[:count]
                standing[: len(verdicts)] &= verdicts
            return {"correct": _bits(self._attack_standing(subject, standing, plan, eps))}

        names = ", ".join(self._stand_ins(subject, plan))
        detail = f"for each image the worst of all rows above within this bound and of {names}"
        before = "".join(row["correct"] for row in known)
        self._row(subject, "adaptive", plan, eps, measure, detail, before)

    def _query(self, subject: Subject, plan: AttackPlan, eps: float | None) -> None:
        count = plan.images or len(self.images)

        def measure() -> dict[str, Any]:
            standing = _bools(self._judged(subject, self.images[:count])["correct"])
            return {"correct": _bits(self._attack_standing(subject, standing, plan, eps))}

        self._row(subject, "query", plan, eps, measure, "")

    def _not_walked(self, subject: Subject, plan: AttackPlan, eps: float | None) -> None:
        why = "not measured: it walks along a boundary, and a random defence has none"
        self._check(subject, check(f"{_title(plan, eps)}, query", None, why))

    def _attack_standing(
        self, subject: Subject, standing: Tensor, plan: AttackPlan, eps: float | None
    ) -> Tensor:
        """Attack the pipeline on the images that stand; return those that still do."""
        standing = standing.clone()
        for stand_in in self._stand_ins(subject, plan):
            # Most images fall to a few steps; only the others are worth all of them.
            steps = plan.steps or ATTACKS[plan.attack].steps
            stages = [steps] if plan.attack != "pgd" or not steps or steps < 10 else [3, steps]
            for stage in stages:
                indices = standing.nonzero().flatten()
                if len(indices):
                    attack = (plan.attack, eps, stage)
                    found = self._through(subject, stand_in, indices, attack)
                    verdicts = self._verdicts(subject, round_to_8_bits(found), indices)
                    standing[indices] = verdicts
        return standing

    def _through(self, subject: Subject, stand_in: str, indices: Tensor, attack: _Attack) -> Tensor:
        """Return images attacked through the pipeline, not rounded."""
        target = subject.pipeline(stand_in)
        if ATTACKS[attack[0]].kind != "ensemble" or self.device != "cpu":
            return self._perturb(target, indices, *attack)
        # An hour and more on a CPU: piece by piece it can be stopped, and gone on with.
        return torch.cat(
            [
                self._piece(subject, target, stand_in, indices[indices // _PIECE == number], attack)
                for number in (indices // _PIECE).unique()
            ]
        )

    def _piece(
        self, subject: Subject, target: nn.Module, stand_in: str, indices: Tensor, attack: _Attack
    ) -> Tensor:
        name, eps, steps = attack
        description = {
            "what": "piece", "of": subject.key, "stand_in": stand_in, "data": self.data_key,
            "indices": indices.tolist(), "attack": name, "eps": eps, "steps": steps,
            "seed": self.experiment.seed,
        }  # fmt: skip
        return self.store.tensor(description, lambda: self._perturb(target, indices, *attack))

    def _stand_ins(self, subject: Subject, plan: AttackPlan) -> tuple[str, ...]:
        parts = () if subject.purifier is None else subject.purifier.modules()
        hidden = any(isinstance(part, ComDefend) for part in parts)
        gradient = ATTACKS[plan.attack].kind != "query"
        chosen = plan.stand_ins or self.experiment.stand_ins
        return chosen if hidden and gradient else ("identity",)

    def _attacked(
        self, source: tuple[nn.Module, str], plan: AttackPlan, eps: float | None
    ) -> Tensor:
        """Return attacked images, not rounded: those of a classifier are made once."""
        classifier, key = source
        count = plan.images or len(self.images)
        if ATTACKS[plan.attack].norm == "L2" and eps is not None:
            # What such an attack finds does not depend on the bound that it is clipped to.
            found, clean = self._attacked(source, plan, None), self.images[:count]
            return found.clamp(clean - eps / 255, clean + eps / 255)
        description = {
            "what": "attacked", "on": key, "data": self.data_key, "attack": plan.attack,
            "eps": eps, "steps": plan.steps, "images": count, "seed": self.experiment.seed,
        }  # fmt: skip
        indices = torch.arange(count)
        return self.store.tensor(
            description,
            lambda: self._perturb(classifier, indices, plan.attack, eps, plan.steps),
        )

    def _perturb(
        self, target: nn.Module, indices: Tensor, attack: str, eps: float | None, steps: int | None
    ) -> Tensor:
        """Return attacked images, not rounded, on the CPU."""
        random = isinstance(target, Expectation)
        if isinstance(target, Expectation) and attack == "autoattack":
            # Its version for random models averages by itself.
            target = target.model
        device, size = device_of(target), images_at_once(target, self.images)
        found = []
        for part in batches(len(indices), size):
            images, labels = self.images[indices[part]], self.labels[indices[part]]
            attacked = run_attack(
                target, images.to(device), labels.to(device), attack, eps, steps,
                seed=self.experiment.seed, random=random, rounded=False,
            )  # fmt: skip
            found.append(attacked.cpu())
        return torch.cat(found)

    def _verdicts(self, subject: Subject, images: Tensor, indices: Tensor) -> Tensor:
        # Not the seed of the attack, which would otherwise know what is drawn here.
        seed = self.experiment.seed + 1
        if subject.purifier is not None and not is_random(subject.purifier):
            pipeline = subject.pipeline()
            purified = self.purified(subject.purifier, subject.key, images, pipeline)
            logits = apply(subject.classifier, purified, seed, pipeline)
        elif subject.draws == 1:
            logits = apply(subject.pipeline(), images, seed)
        else:
            # Always the whole sample, so that an image meets the same draws in every verdict, and
            # is not given up for the worst of many.
            whole = self.images.clone()
            whole[indices] = images
            logits = apply(subject.pipeline(), whole, seed)[indices]
        return logits.argmax(1) == self.labels[indices]

    def _judged(self, subject: Subject, images: Tensor) -> dict[str, Any]:
        return {"correct": _bits(self._verdicts(subject, images, torch.arange(len(images))))}

    def _purify(self, subject: Subject, images: Tensor) -> Tensor:
        assert subject.purifier is not None
        if is_random(subject.purifier):
            return apply(subject.purifier, images, self.experiment.seed)
        return self.purified(subject.purifier, subject.key, images)

    def _psnr(self, subject: Subject) -> float:
        purified = round_to_8_bits(self._purify(subject, self.images))
        return peak_signal_noise_ratio(purified, self.images).item()

    def _code(self, subject: Subject, purifier: ComDefend) -> dict[str, Any]:
        """Return what the code does under the usual oblivious attack, and under chance."""
        usual = _usual(self.experiment.oblivious)
        seed = self.experiment.seed

        def measure() -> dict[str, Any]:
            changed: list[tuple[str, float, Tensor]] = []
            source = (subject.classifier, subject.classifier_key)
            for attack, eps in ((usual[0], e) for e in usual[0].eps) if usual else ():
                found = round_to_8_bits(self._attacked(source, attack, eps))
                changed.append((attack.attack, eps, found))
                changed.append(("random", eps, random_signs(self.images[: len(found)], eps, seed)))
            purify = None if is_random(purifier) else partial(self._purify, subject)
            return code_statistics(purifier, self.images, changed, purify)

        key = {
            "what": "code, kept", "of": subject.key, "data": self.data_key, "seed": seed,
            "attack": usual and dataclasses.asdict(usual[0]),
        }  # fmt: skip
        return self.store.result(key, measure)

    def _detection(self, subject: Subject) -> None:
        usual = _usual(self.experiment.oblivious)
        if usual is None:
            return
        (attack, eps), seed = usual, self.experiment.seed
        if (count := attack.images or len(self.images)) < _DETECTED:
            self._about(subject)["detection"] = {
                "attack": attack.attack,
                "eps": eps,
                "threat": "oblivious",
                "skipped": f"{count} of at least {_DETECTED} images",
            }
            return

        def measure() -> dict[str, Any]:
            source = (subject.classifier, subject.classifier_key)
            found = round_to_8_bits(self._attacked(source, attack, eps))
            purify = partial(self._purify, subject)
            statistics = detection_statistics(subject.classifier, purify, self.images, found)
            return {"attack": attack.attack, "eps": eps, "threat": "oblivious", **statistics}

        key = {
            "what": "detection", "of": subject.key, "data": self.data_key, "eps": eps,
            "attack": dataclasses.asdict(attack), "seed": seed,
        }  # fmt: skip
        self._about(subject)["detection"] = self.store.result(key, measure)

    def _corrupted(self, subject: Subject, name: str) -> None:
        seed = self.experiment.seed

        def measure() -> dict[str, Any]:
            images = round_to_8_bits(apply(self.corruptions[name], self.images, seed))
            return self._judged(subject, images)

        key = {
            "what": "corrupted", "of": subject.key, "data": self.data_key, "by": name, "seed": seed,
        }  # fmt: skip
        correct = self.store.result(key, measure)["correct"]
        hits, count = correct.count("1"), len(correct)
        self._about(subject)["corruptions"].append(
            {
                "corruption": name,
                "images": count,
                "accuracy": hits / count,
                "interval": [round(x, 4) for x in records.wilson_interval(hits, count)],
                "correct": correct,
            }
        )

    def _sanity(self, subject: Subject) -> None:
        """Attack a few images in ways that must agree with each other."""
        count = min(self.experiment.checks, len(self.images))
        usual = _usual(self.experiment.adaptive)
        eps = usual[1] if usual and usual[1] else USUAL_EPS

        def alone(bound: float, steps: int) -> Tensor:
            plan = AttackPlan("pgd", (bound,), steps)
            standing = _bools(self._judged(subject, self.images[:count])["correct"])
            return self._attack_standing(subject, standing, plan, bound)

        def measure() -> dict[str, Any]:
            plan = AttackPlan("pgd", (eps,), 20, count)
            found = self._attacked((subject.classifier, subject.classifier_key), plan, eps)
            oblivious = _bools(self._judged(subject, round_to_8_bits(found))["correct"])
            oblivious &= _bools(self._judged(subject, self.images[:count])["correct"])
            standing = alone(eps, 20)
            return {
                "images": count,
                "eps": eps,
                "unbounded": int(alone(255, 20).sum()),
                "few": int(alone(eps, 5).sum()),
                "many": int(standing.sum()),
                "oblivious": int(oblivious.sum()),
                "standing": _bits(standing),
            }

        key = {
            "what": "sanity", "of": subject.key, "data": self.data_key, "eps": eps,
            "images": count, "stand_ins": list(self.experiment.stand_ins),
            "seed": self.experiment.seed,
        }  # fmt: skip
        left = Left(**self.store.result(key, measure))
        rows = [row for row in self.rows if row["defense"] == subject.plan.name]
        for found in (*check_attacks(left), *check_queries(rows, left)):
            self._check(subject, found)

    def _about(self, subject: Subject) -> dict[str, Any]:
        return next(a for a in self.about if a["name"] == subject.plan.name)

    def _check(self, subject: Subject, found: dict[str, Any]) -> None:
        self.checks.append({**found, "name": f"{subject.plan.name}: {found['name']}"})

    def _row(
        self,
        subject: Subject,
        threat: str,
        plan: AttackPlan | None,
        eps: float | None,
        measure: Callable[[], dict[str, Any]],
        detail: str,
        before: str = "",
    ) -> dict[str, Any]:
        attack = None if plan is None else ATTACKS[plan.attack]
        # An attack without steps of its own takes none, whatever was asked for.
        steps = attack and attack.steps and ((plan and plan.steps) or attack.steps)
        count = len(self.images) if plan is None else plan.images or len(self.images)
        key = {
            "what": "row", "of": subject.key, "main": self.main[1], "data": self.data_key,
            "threat": threat, "attack": plan and plan.attack, "eps": eps, "steps": steps,
            "images": count, "seed": self.experiment.seed, "detail": detail, "before": before,
        }  # fmt: skip

        def timed() -> dict[str, Any]:
            started = time.perf_counter()
            result = measure()
            return result | {"seconds": round(time.perf_counter() - started, 2)}

        result = self.store.result(key, timed)
        hits = result["correct"].count("1")
        row = {
            "defense": subject.plan.name,
            "threat": threat,
            "attack": plan and plan.attack,
            # A bound is one on every value, also for attacks that look for the smallest change.
            "norm": "Linf" if eps is not None else attack and attack.norm,
            "eps": eps,
            "steps": steps,
            "detail": detail,
            "images": count,
            "accuracy": hits / count,
            "interval": [round(x, 4) for x in records.wilson_interval(hits, count)],
            "unrounded_accuracy": result.get("unrounded_accuracy"),
            "perturbation_psnr": result.get("perturbation_psnr"),
            "correct": result["correct"],
            "seconds": result["seconds"],
        }
        self.rows.append(row)
        return row


def _sample(experiment: Experiment) -> ImageSet:
    data = load_image_set(experiment.data, "test")
    if experiment.images > len(data):
        raise InputError(
            f"{experiment.data}: has {len(data)} images, not {experiment.images}; 0 takes all"
        )
    # In an order drawn at random even where all are taken: files come sorted by class.
    data = data.sample(experiment.images or len(data), experiment.seed)
    for plan in (*experiment.oblivious, *experiment.adaptive, *experiment.query):
        if (plan.images or 0) > len(data):
            raise InputError(f"{plan.attack}: {plan.images} images of a sample of {len(data)}")
    if side := experiment.crop:
        height, width = data.images.shape[-2:]
        if side > min(height, width):
            raise InputError(f"crop: the images are {height}x{width}, {side} does not fit")
        top, left = (height - side) // 2, (width - side) // 2
        cut = data.images[..., top : top + side, left : left + side].contiguous()
        data = ImageSet(cut, data.labels, data.classes)
    return data


def _each(plans: tuple[AttackPlan, ...]) -> Iterator[tuple[AttackPlan, float | None]]:
    for plan in plans:
        yield from ((plan, eps) for eps in plan.eps or (None,))


def _usual(plans: tuple[AttackPlan, ...]) -> tuple[AttackPlan, float | None] | None:
    """Return the iterative attack in Linf, or else the single step, nearest to the usual bound."""
    bounded = [
        (p, e) for p, e in _each(plans) if e is not None and ATTACKS[p.attack].norm == "Linf"
    ]
    return min(
        bounded,
        key=lambda pair: (abs((pair[1] or 0) - USUAL_EPS), pair[0].attack == "fgsm"),
        default=None,
    )


def _within(row: dict[str, Any], attack: str, eps: float | None) -> bool:
    """Whether who attacks within a bound could have done what this row did.

    Of attacks without a bound only the same one: others may change images beyond recognition.
    """
    if row["threat"] == "clean":
        return True
    if eps is None or row["eps"] is None:
        return eps == row["eps"] and row["attack"] == attack
    return bool(row["eps"] <= eps)


def _title(plan: AttackPlan, eps: float | None) -> str:
    return plan.attack if eps is None else f"{plan.attack} {eps:g}/255"


def _bits(correct: Tensor) -> str:
    return "".join("1" if right else "0" for right in correct.tolist())


def _bools(bits: str) -> Tensor:
    return torch.tensor([bit == "1" for bit in bits], dtype=torch.bool)
