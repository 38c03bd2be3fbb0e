"""What an experiment needs, trains and costs, said before any of it begins: without torch."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from comdefend.common import schema
from comdefend.common.extras import require_extra
from comdefend.data.folders import Split
from comdefend.data.places import check_present
from comdefend.errors import DataMissingError, ExtraMissingError
from comdefend.evaluation.shipped import SAMPLE, TRAINED, read_experiment
from comdefend.training.shipped import recipe_texts

_RECORDS = Path(__file__).parents[3] / "docs/records"
"""In a clone; an installed package has no records."""

_NEEDS = {"efficientnet-lite0": "demo", "efficientnet-lite1": "demo"}
"""Classifiers that need another extra than all evaluations do."""


class _Attack(msgspec.Struct, frozen=True):
    """What counts of an `AttackPlan`."""

    eps: tuple[float, ...] = ()
    images: int | None = None


class _Row(msgspec.Struct, frozen=True):
    """What counts of a `DefensePlan`; a recipe is a name or its fields."""

    purifier: str = "none"
    classifier: str | None = None
    train_purifier: Any = None
    train_classifier: Any = None
    purified: bool = False
    train_defense: Any = None


class _Plan(msgspec.Struct, frozen=True):
    """What counts of an `Experiment`."""

    name: str
    title: str
    data: str
    classifier: str
    defenses: tuple[str | _Row, ...]
    oblivious: tuple[_Attack, ...] = ()
    adaptive: tuple[_Attack, ...] = ()
    query: tuple[_Attack, ...] = ()
    images: int = SAMPLE
    train_classifier: Any = None

    @property
    def rows(self) -> tuple[_Row, ...]:
        """The rows that are more than a purifier."""
        return tuple(row for row in self.defenses if isinstance(row, _Row))


class _Recipe(msgspec.Struct, frozen=True):
    """What counts of a recipe."""

    kind: str
    data: str
    steps: int | None = None
    epochs: int | None = None

    def __str__(self) -> str:
        count, unit = (self.steps, "steps") if self.steps else (self.epochs or 0, "epochs")
        return f"{self.kind}, {count:,} {unit} on {self.data}"


class _Cost(msgspec.Struct, frozen=True):
    """What counts of a record."""

    seconds: float
    threads: int
    processor: str | None = None


class Outline:
    """An experiment, as far as it can be told in a moment.

    Args:
        name: As `read_experiment` takes it.
        profile: The same.

    Raises:
        InputError: No such experiment or profile, or a bad field.
        DataMissingError: The file does not exist.
    """

    def __init__(self, name: str, profile: str) -> None:
        values, where = read_experiment(name, profile)
        self.plan = schema.build(_Plan, values, where)
        self.trainings = list(_trainings(self.plan, where))
        classifiers = {self.plan.classifier, *(row.classifier for row in self.plan.rows)}
        more = {extra for name, extra in _NEEDS.items() if name in classifiers}
        self.extras = ["evaluate", *sorted(more), *(["train"] if self.trainings else [])]
        trained_on: dict[tuple[str, Split], None] = {
            (r.data, "train"): None for r in self.trainings
        }
        self.data: list[tuple[str, Split]] = [(self.plan.data, "test"), *trained_on]

    def __str__(self) -> str:
        plan = self.plan
        names = dict.fromkeys(name for name, _ in self.data)
        lines = [
            f"{plan.name}: {plan.title}",
            f"needs: comdefend[{','.join(self.extras)}]; data: {', '.join(names)}",
        ]
        if self.trainings:
            each = (f"{n} x {what}" for what, n in Counter(map(str, self.trainings)).items())
            lines.append(f"trains first, where an earlier run did not: {'; '.join(each)}")
        return "\n".join([*lines, f"then measures: {_amount(plan)}", f"time: {_time(plan.name)}"])

    def check(self) -> None:
        """Check that extras and data are there.

        Raises:
            ExtraMissingError, DataMissingError: The message names everything that is missing, and
                says how to get it.
        """
        missing: dict[str, type[ExtraMissingError | DataMissingError]] = {}
        try:
            require_extra(*self.extras)
        except ExtraMissingError as error:
            missing[str(error)] = ExtraMissingError
        for name, split in self.data:
            try:
                check_present(name, split)
            except DataMissingError as error:
                missing[str(error)] = DataMissingError
        if missing:
            raise next(iter(missing.values()))("; ".join(missing))


def _trainings(plan: _Plan, where: str) -> Iterator[_Recipe]:
    """Yield the recipes that are trained, each once."""
    seen = set()
    owners: tuple[_Plan | _Row, ...] = (plan, *plan.rows)
    for owner in owners:
        for field, kinds in TRAINED.items():
            value = getattr(owner, field, None)
            if value is None:
                continue
            place = f"{where}: {field}"
            recipe = {"kind": kinds[0], **_recipe(value, place)}
            # Such a classifier belongs to the purifier of its row.
            own = isinstance(owner, _Row) and owner.purified and field == "train_classifier"
            key = json.dumps([recipe, schema.to_plain(owner) if own else None])
            if key not in seen:
                seen.add(key)
                yield schema.build(_Recipe, recipe, place)


def _recipe(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, str):
        return schema.mapping(value, where)
    # Whoever loads the experiment says what is wrong with a name.
    text = recipe_texts().get(value) or schema.read_text(value)
    return schema.parse_yaml(text, value)


def _amount(plan: _Plan) -> str:
    """Return how many images are judged under how many attacks."""
    attacks = [
        attack.images or plan.images
        for attack in (*plan.oblivious, *plan.adaptive, *plan.query)
        for _ in attack.eps or (None,)
    ]
    rows, cells = len(plan.defenses), len(attacks)
    words = f"{rows} defences x {cells} attacks and bounds"
    if 0 in attacks:
        return f"{words}, on all test images"
    return f"{words}, on {min(attacks)} to {max(attacks)} images: {rows * sum(attacks):,} in all"


def _time(name: str) -> str:
    """Return what an experiment took when it was last recorded."""
    path = _RECORDS / f"{name}.json"
    if path.is_file():
        text = schema.read_text(str(path))
        cost = schema.decode_json(_Cost, text, str(path))
        if cost.processor:
            hours, minutes = divmod(round(cost.seconds / 60), 60)
            took = f"{hours} h {minutes} min" if hours else f"{minutes} min"
            threads = f"{cost.threads} thread{'s' * (cost.threads != 1)}"
            return f"the attacks took {took} on {cost.processor}, {threads}"
    return "no run on a named processor is recorded"
