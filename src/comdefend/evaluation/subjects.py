"""What an experiment evaluates: classifiers and purifiers, opened or trained, and fingerprinted."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch
from torch import nn

from comdefend.attacks import Expectation, with_stand_in
from comdefend.classifiers import (
    ClassifierSpec,
    as_spec,
    check_classifier,
    match_to_classifier,
    open_classifier,
)
from comdefend.common.extras import require_extra
from comdefend.common.user_code import is_user_spec
from comdefend.data.image_set import ImageSet
from comdefend.defenses import (
    DefendedClassifier,
    check_defense,
    check_own_defense,
    draws_at_random,
    load_defense,
)
from comdefend.errors import InputError, InputTypeError
from comdefend.evaluation.experiment import DefensePlan, Experiment
from comdefend.evaluation.findings import SUBMISSIONS
from comdefend.evaluation.given import Given
from comdefend.evaluation.record import UNDEFENDED
from comdefend.nn.batches import apply, fingerprint, images_at_once
from comdefend.nn.described import described
from comdefend.training.recipe import Recipe, recipe_to_dict


class OpenedClassifier(NamedTuple):
    """A classifier without a defence: what an oblivious attacker attacks.

    Attributes:
        module: Images in [0, 1] to logits.
        key: Its fingerprint.
        random: Whether it draws at random.
    """

    module: nn.Module
    key: str
    random: bool


@dataclass(frozen=True)
class Subject:
    """A defence under evaluation.

    Attributes:
        plan: Its row of the experiment.
        purifier: None where there is none.
        alone: The classifier behind it.
        key: Fingerprint of the whole, and of how it is judged.
        draws: Draws to average over; 1 where nothing is random.
        random_purifier: Whether the purifier draws at random.
    """

    plan: DefensePlan
    purifier: nn.Module | None
    alone: OpenedClassifier
    key: str
    draws: int
    random_purifier: bool = False

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.plan.name

    @property
    def classifier(self) -> nn.Module:
        """The classifier behind it: images in [0, 1] to logits."""
        return self.alone.module

    @property
    def random(self) -> bool:
        """Whether its purifier or its classifier draws at random."""
        return self.random_purifier or self.alone.random

    def pipeline(self, stand_in: str = "identity", averaged: bool = True) -> nn.Module:
        """Return the whole pipeline, as an adaptive attacker and the user have it.

        Args:
            stand_in: Surrogate gradient for the threshold.
            averaged: Average over draws where it draws at random.
        """
        whole, purifier = self.alone.module, self.purifier
        if purifier is not None:
            if stand_in != "identity":
                purifier = with_stand_in(purifier, stand_in)
            whole = DefendedClassifier(purifier, whole).eval()
        return Expectation(whole, self.draws) if averaged and self.draws > 1 else whole

    def origins(self, main: str) -> dict[str, str]:
        """Return where purifier and classifier come from; the main classifier has this name."""
        plan, trained, defense = self.plan, "trained here", self.plan.train_defense
        purifier, classifier = plan.purifier, plan.classifier or main
        if plan.train_purifier or (defense and defense.purifies):
            purifier = trained
        if defense and defense.kept:
            classifier = defense.kept.name
        elif defense or plan.train_classifier:
            classifier = trained
        return {"purifier": purifier, "classifier": classifier}


class Subjects:
    """Opens the subjects of an experiment, and trains those that come as recipes.

    Args:
        experiment: What is evaluated.
        output: Where trained weights are kept: a recipe is trained once, however many rows use it.
        device: Where models run.
        data: The images on which models must work; `main` numbers its classes as the classifier
            does.
        announce: Told what is about to be trained.
        given: Objects that take the place of what the experiment names.
    """

    def __init__(
        self,
        experiment: Experiment,
        output: Path,
        device: str,
        data: ImageSet,
        announce: Callable[[str], None],
        given: Given,
    ) -> None:
        self.experiment, self.output, self.device = experiment, output, device
        self.data, self.images = data, data.images.float() / 255
        self.announce, self.given = announce, given

    def main(self) -> OpenedClassifier:
        """Return the experiment's own classifier.

        Raises:
            InputError: It does not fit the data, or returns something other than logits.
            DataMissingError: Its weights, or the data to train it on, are missing.
        """
        plan = self.experiment
        spec = plan.classifier_spec
        if self.given.classifier is not None:
            opened = self.given.classifier
        elif plan.train_classifier is not None:
            opened = open_classifier(str(self._trained(plan.train_classifier, plan.classifier)))
        else:
            opened = open_classifier(spec, self.announce)
        opened = opened.to(self.device)
        few = self.images[:2].to(self.device)
        count = check_classifier(opened, few, torch.zeros(len(few), dtype=torch.int64))
        self.data = match_to_classifier(self.data, spec, count, plan.data)
        return self._checked(opened, plan.classifier)

    def open(self, plan: DefensePlan, main: OpenedClassifier) -> Subject:
        """Return a row's subject; behind its purifier stands the main classifier by default.

        Raises:
            InputError: Its purifier or classifier does not fit the data.
            DataMissingError: Weights, or the data to train on, are missing.
        """
        purifier_name, classifier = self._row(plan, main)
        draws = self.experiment.draws
        if purifier_name == UNDEFENDED:
            key = f"none {classifier.key}"
            return Subject(plan, None, classifier, key, draws if classifier.random else 1)
        purifier, purifier_key = self._purifier(purifier_name, plan.name)
        random = draws_at_random(purifier, self.images)
        if not (random or classifier.random):
            return Subject(plan, purifier, classifier, f"{purifier_key} 1 {classifier.key}", 1)
        key = f"{purifier_key} {self._drawn} {classifier.key}"
        return Subject(plan, purifier, classifier, key, draws, random)

    def corruption(self, name: str) -> tuple[nn.Module, str]:
        """Return what happens to images without an attacker, and its fingerprint.

        Raises:
            InputError: It is unknown, or does not fit the images.
        """
        return self._purifier(name, name)

    def _purifier(self, name: str, row: str) -> tuple[nn.Module, str]:
        """Return a purifier and its fingerprint: of a user's, also of its code and attributes."""
        given = self.given.defenses.get(name)
        purifier = load_defense(name).eval() if given is None else given
        purifier = purifier.to(self.device)
        own = given is not None or is_user_spec(name)
        try:
            answer = check_defense(purifier, self.images[:1])
            if own:
                check_own_defense(purifier, self.images[:1])
        except (InputError, InputTypeError) as error:
            raise InputError(f"{row}: {error}") from error
        # Code that this process cannot see, such as that of a library, shows in what it returns.
        answers = (answer * 1000).round().int().numpy().tobytes()
        parts = [fingerprint(purifier), hashlib.sha256(answers).hexdigest()]
        return purifier, " ".join([*parts, described(purifier)] if own else parts)

    def _row(self, plan: DefensePlan, main: OpenedClassifier) -> tuple[str, OpenedClassifier]:
        """Return the name of a row's purifier, and its classifier."""
        purifier = plan.purifier
        if plan.train_purifier is not None:
            rate = "" if plan.bpp is None else f"@{plan.bpp:g}"
            purifier = f"{self._trained(plan.train_purifier, plan.name)}{rate}"
        if (defense := plan.train_defense) is not None:
            weights = self._trained(defense, plan.name)
            if defense.purifies:
                purifier = str(weights.with_stem("purifier"))
            return purifier, self.classifier(defense.kept or str(weights))
        if (recipe := plan.train_classifier) is not None:
            if plan.purified:
                recipe = msgspec.structs.replace(recipe, purifier=purifier)
            return purifier, self.classifier(str(self._trained(recipe, plan.name)))
        if plan.classifier is not None:
            return purifier, self.classifier(plan.classifier)
        return purifier, main

    def classifier(self, classifier: ClassifierSpec | str) -> OpenedClassifier:
        """Open a classifier that is not the experiment's own.

        Raises:
            InputError: It does not fit the data.
            DataMissingError: Its weights are missing.
        """
        opened = open_classifier(classifier, self.announce)
        return self._checked(opened, as_spec(classifier).name)

    def _checked(self, classifier: nn.Module, name: str) -> OpenedClassifier:
        classifier = classifier.to(self.device)
        few = slice(0, images_at_once(classifier, self.images))
        images, labels = self.images[few].to(self.device), self.data.labels[few]
        classes = check_classifier(classifier, images, labels)
        if (largest := int(self.data.labels.max())) >= classes:
            raise InputError(f"{name}: has {classes} classes, the data has labels up to {largest}")
        # A user's classifier may compute something else with the same weights than it did before.
        answers = (apply(classifier, self.images[few]) * 100).round().int()
        digest = hashlib.sha256(answers.numpy().tobytes()).hexdigest()
        own = classifier is self.given.classifier or is_user_spec(name)
        parts = [fingerprint(classifier), digest]
        if random := draws_at_random(classifier, self.images):
            parts.append(self._drawn)
        key = " ".join([*parts, described(classifier)] if own else parts)
        return OpenedClassifier(classifier, key, random)

    @property
    def _drawn(self) -> str:
        """How what draws at random is attacked and judged, as a part of its fingerprint."""
        return f"{self.experiment.draws} draws {SUBMISSIONS}"

    def _trained(self, recipe: Recipe, name: str) -> Path:
        require_extra("train")
        from comdefend.training.run import train

        plain = json.dumps(recipe_to_dict(recipe), sort_keys=True)
        digest = hashlib.sha256(plain.encode()).hexdigest()[:12]
        folder = self.output / "trained" / f"{recipe.kind}-{digest}"
        weights = folder / recipe.weights_file
        if not weights.is_file():
            self.announce(f"training the {recipe.kind} of '{name}' in {folder}")
            # bfloat16 turns bits of the code over; classifiers learn as well with it.
            classifies = recipe.kind in ("classifier", "defense")
            train(recipe, folder, "auto" if classifies else "float32")
        return weights
