"""What an experiment evaluates: classifiers and purifiers, opened or trained, and fingerprinted."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from comdefend.attacks import Expectation, with_stand_in
from comdefend.classifiers import check_classifier, open_classifier
from comdefend.common.extras import require_extra
from comdefend.defenses import DefendedClassifier, is_random, load_defense
from comdefend.errors import InputError, InputTypeError
from comdefend.evaluation.experiment import DefensePlan, Experiment
from comdefend.nn.batches import apply, fingerprint, images_at_once
from comdefend.training.recipe import DefenseRecipe, Recipe, kind_of, recipe_to_dict


@dataclass(frozen=True)
class Subject:
    """A defence under evaluation.

    Attributes:
        plan: What it is.
        purifier: None where there is no purifier.
        classifier: Images in [0, 1] to logits; what an oblivious attacker attacks.
        classifier_key: Fingerprint of the classifier.
        key: Fingerprint of the whole.
        draws: Draws to average over; 1 where nothing is random.
    """

    plan: DefensePlan
    purifier: nn.Module | None
    classifier: nn.Module
    classifier_key: str
    key: str
    draws: int

    def pipeline(self, stand_in: str = "identity") -> nn.Module:
        """Return the whole pipeline, as an adaptive attacker and the user have it."""
        if self.purifier is None:
            return self.classifier
        purifier = self.purifier
        if stand_in != "identity":
            purifier = with_stand_in(purifier, stand_in)
        defended = DefendedClassifier(purifier, self.classifier).eval()
        return Expectation(defended, self.draws) if self.draws > 1 else defended

    def origins(self, main: str) -> dict[str, str]:
        """Return where purifier and classifier come from; the main classifier has this name."""
        plan, trained, defense = self.plan, "trained here", self.plan.train_defense
        purifier, classifier = plan.purifier, plan.classifier or main
        if plan.train_purifier or (defense and defense.purifies):
            purifier = trained
        if defense and defense.trained == "purifier":
            classifier = defense.classifier
        elif defense or plan.train_classifier:
            classifier = trained
        return {"purifier": purifier, "classifier": classifier}


class Subjects:
    """Opens the subjects of an experiment, and trains those that come as recipes.

    Args:
        experiment: What is evaluated.
        output: Where trained weights are kept: a recipe is trained once, however many rows use it.
        device: Where models run.
        images: (N, C, H, W) in [0, 1], on which models must work.
        labels: (N,), which classifiers must know.
        announce: Told what is about to be trained.
    """

    def __init__(
        self,
        experiment: Experiment,
        output: Path,
        device: str,
        images: Tensor,
        labels: Tensor,
        announce: Callable[[str], None],
    ) -> None:
        self.experiment, self.output, self.device = experiment, output, device
        self.announce = announce
        self.images, self.labels = images, labels

    def main(self) -> tuple[nn.Module, str]:
        """Return the experiment's own classifier, and its fingerprint.

        Raises:
            InputError: It does not fit the data, or returns something else than logits.
            DataMissingError: Its weights or the data to train it on are not there.
        """
        plan = self.experiment
        if plan.train_classifier is not None:
            return self._classifier(str(self._trained(plan.train_classifier, plan.classifier)))
        checkpoint = Path(plan.checkpoint) if plan.checkpoint else None
        return self._classifier(plan.classifier, checkpoint, plan.mean, plan.std)

    def open(self, plan: DefensePlan, main: tuple[nn.Module, str]) -> Subject:
        """Return a row's subject; behind its purifier stands the main classifier by default.

        Raises:
            InputError: Its purifier or classifier does not fit the data.
            DataMissingError: Weights, or the data to train on, are not there.
        """
        classifier, classifier_key = main
        spec = plan.purifier
        if plan.train_purifier is not None:
            rate = "" if plan.bpp is None else f"@{plan.bpp}"
            spec = f"{self._trained(plan.train_purifier, plan.name)}{rate}"
        if plan.train_defense is not None:
            recipe = plan.train_defense
            weights = self._trained(recipe, plan.name)
            kept = recipe.trained == "purifier"
            classifier, classifier_key = self._classifier(
                recipe.classifier if kept else str(weights)
            )
            if recipe.purifies:
                spec = str(weights.with_stem("purifier"))
        elif plan.train_classifier is not None:
            training = plan.train_classifier
            training = dataclasses.replace(training, purifier=spec) if plan.purified else training
            classifier, classifier_key = self._classifier(str(self._trained(training, plan.name)))
        elif plan.classifier is not None:
            classifier, classifier_key = self._classifier(plan.classifier)
        if spec == "none":
            return Subject(plan, None, classifier, classifier_key, f"none {classifier_key}", 1)
        purifier = load_defense(spec).to(self.device).eval()
        try:
            apply(purifier, self.images[:1])
        except (InputError, InputTypeError) as error:
            raise InputError(f"{plan.name}: {error}") from error
        draws = self.experiment.draws if is_random(purifier) else 1
        key = f"{fingerprint(purifier)} {draws} {classifier_key}"
        return Subject(plan, purifier, classifier, classifier_key, key, draws)

    def _classifier(
        self,
        spec: str,
        checkpoint: Path | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> tuple[nn.Module, str]:
        classifier = open_classifier(spec, checkpoint, mean, std).to(self.device)
        few = slice(0, images_at_once(classifier, self.images))
        images, labels = self.images[few].to(self.device), self.labels[few]
        classes = check_classifier(classifier, images, labels)
        if self.labels.max() >= classes:
            raise InputError(
                f"{spec}: has {classes} classes, the data has labels up to {self.labels.max()}"
            )
        # A user's classifier may compute something else with the same weights than it did before.
        answers = (apply(classifier, self.images[few]) * 100).round().int()
        digest = hashlib.sha256(answers.numpy().tobytes()).hexdigest()
        return classifier, f"{fingerprint(classifier)} {digest}"

    def _trained(self, recipe: Recipe, name: str) -> Path:
        require_extra("train")
        from comdefend.training.start import train

        kind = kind_of(recipe)
        plain = json.dumps(recipe_to_dict(recipe), sort_keys=True)
        digest = hashlib.sha256(plain.encode()).hexdigest()[:12]
        folder = self.output / "trained" / f"{kind}-{digest}"
        classifies = kind in ("classifier", "defense")
        weights = folder / f"{_stem(recipe)}.safetensors"
        if not weights.is_file():
            self.announce(f"training the {kind} of '{name}' in {folder}")
            # bf16 turns bits of the code over; classifiers learn as well with it.
            train(recipe, folder, "auto" if classifies else "32")
        return weights


def _stem(recipe: Recipe) -> str:
    """Return the name of the file that a training ends with."""
    if isinstance(recipe, DefenseRecipe):
        return "purifier" if recipe.trained == "purifier" else "classifier"
    return kind_of(recipe)
