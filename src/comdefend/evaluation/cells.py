"""An evaluation as a list of cells, planned before anything is computed."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from comdefend.attacks import Attack, Settings, has_threshold, settings_of
from comdefend.common import schema
from comdefend.evaluation.experiment import AttackPlan, Experiment
from comdefend.evaluation.subjects import Subject
from comdefend.nn.purifier import ComDefend

USUAL_EPS = 8.0
"""The bound that code, detection and sanity checks take, or the nearest one the experiment has."""

Measure = Literal[
    "clean", "oblivious", "transfer", "query", "adaptive",
    "fidelity", "code", "detection", "corruption", "ranges", "sanity",
]  # fmt: skip
"""A threat model, for a row of the record, or what else is measured of a defence."""


class Cell(Settings, frozen=True, kw_only=True):
    """One thing to measure. All its fields, and nothing else, decide the result: they are its key.

    Attributes:
        measure: What is measured.
        pipeline: Fingerprint of purifier and classifier.
        source: Fingerprint of the classifier that is attacked without the purifier.
        made_on: Its name, where the experiment names it for this attack alone.
        data: Fingerprint of the sample.
        images: How many of its images, the first ones.
        seed: Of attacks and verdicts.
        attack: Name of the attack; None where there is none.
        attack_key: Fingerprint of the attack, where its name does not say all.
        eps: The bounds, in units of 1/255; empty where there is none.
        steps: Of the attack; None where it has none.
        rounded: Attacked images are rounded to 8 bits.
        stand_ins: Surrogate gradients for the threshold, tried in turn.
        corruption: What happens to the images.
        corruption_key: Fingerprint of that.
        normalisation: Mean and standard deviation that images are normalised by.
        after: Digests of the cells whose verdicts this one starts from.
    """

    measure: Measure
    pipeline: str
    source: str = ""
    made_on: str | None = None
    data: str
    images: int
    seed: int
    attack: str | None = None
    attack_key: str = ""
    eps: tuple[float, ...] = ()
    steps: int | None = None
    rounded: bool = True
    stand_ins: tuple[str, ...] = ()
    corruption: str | None = None
    corruption_key: str = ""
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    after: tuple[str, ...] = ()

    @property
    def bound(self) -> float | None:
        """The bound of a cell that has one, or None."""
        return self.eps[0] if self.eps else None

    @property
    def digest(self) -> str:
        """SHA-256 over all fields."""
        text = json.dumps(schema.to_plain(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def label(self) -> str:
        """What is being done, for a progress bar."""
        if self.attack is None:
            return self.corruption or _LABELS.get(self.measure, self.measure)
        bound = "" if self.bound is None else f" {self.bound:g}/255"
        name = f"{self.attack}{bound}"
        return name if self.measure == "oblivious" else f"{name}, {self.measure}"


_LABELS = {"clean": "clean images", "sanity": "sanity checks"}


@dataclass(frozen=True)
class Plan:
    """What there is to measure of one defence.

    Attributes:
        experiment: What is measured.
        subject: The defence.
        main_key: Fingerprint of the experiment's own classifier.
        data_key: Fingerprint of the sample.
        images: Size of the sample.
        attacks: The experiment's attacks, by name.
        corruption_keys: Fingerprints of what happens to images without an attacker, by name.
        source_keys: Fingerprints of the classifiers that single attacks are made on, by name.
    """

    experiment: Experiment
    subject: Subject
    main_key: str
    data_key: str
    images: int
    attacks: Mapping[str, Attack]
    corruption_keys: Mapping[str, str]
    source_keys: Mapping[str, str]

    def cells(self) -> Iterator[Cell]:
        """Yield the cells, each after those it starts from."""
        experiment, subject = self.experiment, self.subject
        rows = [self._cell("clean")]
        for plan, eps in each_bound(experiment.oblivious):
            if plan.made_on is not None:
                rows.append(self._attack("transfer", plan, eps))
                continue
            rows.append(self._attack("oblivious", plan, eps))
            if subject.alone.key != self.main_key:
                rows.append(self._attack("transfer", plan, eps))
        for plan, eps in each_bound(experiment.query):
            # A walk along the decision boundary needs answers that stay the same.
            if not (self.attacks[plan.attack].deterministic_only and subject.random):
                rows.append(self._attack("query", plan, eps))
        # From small bounds to large ones: what breaks within a small one is broken.
        for plan, eps in sorted(each_bound(experiment.adaptive), key=lambda pair: pair[1] or 0):
            before = tuple(row.digest for row in rows if within(row, plan.attack, eps))
            rows.append(self._attack("adaptive", plan, eps, after=before))
        yield from rows
        yield from self._measures()

    def _measures(self) -> Iterator[Cell]:
        experiment, subject = self.experiment, self.subject
        usual = usual_attack(experiment.oblivious, self.attacks)
        if subject.purifier is None:
            own = subject.alone.key == self.main_key
            mean, std = (experiment.mean, experiment.std) if own else (None, None)
            pair = (mean, std) if mean is not None and std is not None else None
            yield self._cell("ranges", normalisation=pair)
        else:
            yield self._cell("fidelity")
            if isinstance(subject.purifier, ComDefend):
                yield self._attack("code", usual[0], usual[0].eps) if usual else self._cell("code")
            if usual:
                yield self._attack("detection", *usual)
        for name in experiment.corruptions:
            key = self.corruption_keys[name]
            yield self._cell("corruption", corruption=name, corruption_key=key)
        if experiment.checks:
            adaptive = usual_attack(experiment.adaptive, self.attacks)
            eps = adaptive[1] if adaptive and adaptive[1] else USUAL_EPS
            count = min(experiment.checks, self.images)
            yield self._cell(
                "sanity", source=subject.alone.key, images=count, eps=(eps,),
                stand_ins=stand_ins_of(subject, experiment.stand_ins),
            )  # fmt: skip

    def _attack(
        self,
        measure: Measure,
        plan: AttackPlan,
        eps: float | tuple[float, ...] | None,
        after: tuple[str, ...] = (),
    ) -> Cell:
        attack = self.attacks[plan.attack]
        through = measure in ("adaptive", "query")
        # Straight through is all that an attack without gradients needs.
        hidden = measure == "adaptive" and attack.kind != "query"
        stand_ins = stand_ins_of(self.subject, plan.stand_ins or self.experiment.stand_ins)
        source = self.main_key if measure == "transfer" else self.subject.alone.key
        if plan.made_on is not None:
            source = self.source_keys[plan.made_on]
        return self._cell(
            measure,
            source="" if through else source,
            made_on=plan.made_on,
            images=plan.images or self.images,
            attack=plan.attack,
            attack_key=attack.fingerprint,
            eps=eps if isinstance(eps, tuple) else () if eps is None else (eps,),
            # An attack without steps of its own takes none, whatever was asked for.
            steps=attack.steps and (plan.steps or attack.steps),
            rounded=plan.rounded,
            **settings_of(plan),
            stand_ins=stand_ins if hidden else ("identity",) if through else (),
            after=after,
        )

    def _cell(self, measure: Measure, **fields: object) -> Cell:
        common = {
            "pipeline": self.subject.key, "data": self.data_key, "images": self.images,
            "seed": self.experiment.seed,
        }  # fmt: skip
        return Cell(measure=measure, **{**common, **fields})  # type: ignore[arg-type]


def each_bound(plans: Sequence[AttackPlan]) -> Iterator[tuple[AttackPlan, float | None]]:
    """Yield every attack at each of its bounds."""
    for plan in plans:
        yield from ((plan, eps) for eps in plan.bounds)


def usual_attack(
    plans: Sequence[AttackPlan], attacks: Mapping[str, Attack]
) -> tuple[AttackPlan, float] | None:
    """Return the iterative attack in Linf, or else the single step, nearest to `USUAL_EPS`."""
    bounded = [
        (plan, eps)
        for plan, eps in each_bound(plans)
        if eps is not None
        and attacks[plan.attack].norm == "Linf"
        and plan.made_on is None
        and plan.rounded
    ]
    return min(
        bounded,
        key=lambda pair: (abs(pair[1] - USUAL_EPS), attacks[pair[0].attack].steps is None),
        default=None,
    )


def within(row: Cell, attack: str, eps: float | None) -> bool:
    """Whether an attacker within a bound could have done what this row did.

    Of attacks without a bound only the same one: others may change images beyond recognition.
    What was not rounded is no image of 8 bits, and adaptive figures are about those.
    """
    if not row.rounded:
        return False
    if row.measure == "clean":
        return True
    if eps is None or row.bound is None:
        return eps == row.bound and row.attack == attack
    return row.bound <= eps


def stand_ins_of(subject: Subject, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the stand-ins that make sense for a defence: only a threshold needs another."""
    hidden = subject.purifier is not None and has_threshold(subject.purifier)
    return wanted if hidden else ("identity",)
