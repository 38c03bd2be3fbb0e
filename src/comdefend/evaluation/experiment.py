"""Experiments: everything that decides what an evaluation measures, as data."""

import re
from typing import Any

import msgspec

from comdefend.attacks import Settings, check_stand_ins
from comdefend.classifiers import ClassifierSpec
from comdefend.common import schema
from comdefend.errors import InputError
from comdefend.evaluation.record import UNDEFENDED
from comdefend.evaluation.shipped import SAMPLE
from comdefend.training.recipe import (
    ClassifierRecipe,
    DefenseRecipe,
    DenoiserRecipe,
    PixelCNNRecipe,
    PurifierRecipe,
)

MAX_SEED = 2**32


class AttackPlan(Settings, frozen=True, forbid_unknown_fields=True):
    """One attack, at one or several bounds, and how it is made.

    Attributes:
        attack: As `comdefend.attacks.find_attack` names it.
        eps: Bounds on the largest change of a value, in whole units of 1/255. Empty for attacks
            that look for the smallest perturbation: then whatever they find counts.
        steps: Steps of an iterative attack; by default the attack's own number.
        images: Attack so many images, the first of the sample; by default all.
        stand_ins: Surrogate gradients for the threshold, tried in turn; by default those of the
            experiment.
        made_on: Make an oblivious attack on this classifier alone, as `open_classifier` names it,
            and only try it on those of the rows (transfer).
        rounded: Round the images of an oblivious attack to 8 bits before they are classified.
    """

    attack: str
    eps: tuple[float, ...] = ()
    steps: int | None = None
    images: int | None = None
    stand_ins: tuple[str, ...] = ()
    made_on: str | None = None
    rounded: bool = True

    def __post_init__(self) -> None:
        for eps in self.eps:
            # Images are rounded to 8 bits: half a step would be rounded up or away.
            if eps != int(eps) or not 0 < eps <= 255:
                raise InputError(f"eps must be whole numbers of 1/255, from 1 to 255, not {eps:g}")
        for name in ("steps", "images"):
            if getattr(self, name) is not None:
                schema.check_positive(self, name)
        check_stand_ins(self.stand_ins)

    @property
    def bounds(self) -> tuple[float | None, ...]:
        """The bounds; a single None where there are none."""
        return self.eps or (None,)


class DefensePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of a results table: a purifier in front of a classifier.

    Attributes:
        name: What tables call it.
        purifier: As `comdefend.defenses.load_defense` names it.
        classifier: The classifier behind it, if not the experiment's own: one that was trained on
            purified images, or against attacks.
        train_purifier: Train the purifier by this recipe first; files may name a shipped one.
        bpp: Use that purifier at this rate, in bits per pixel, where it has several.
        train_classifier: Train the classifier by this recipe first; files may name a shipped one.
        purified: Train it on images that went through this row's purifier.
        train_defense: Train both, or either, against attacks by this recipe first.
    """

    name: str
    purifier: str = UNDEFENDED
    classifier: str | None = None
    train_purifier: PurifierRecipe | DenoiserRecipe | PixelCNNRecipe | None = None
    bpp: float | None = None
    train_classifier: ClassifierRecipe | None = None
    purified: bool = False
    train_defense: DefenseRecipe | None = None

    def __post_init__(self) -> None:
        bare = self.purifier == UNDEFENDED
        trained = self.train_purifier or self.train_classifier
        if self.name == UNDEFENDED and not (
            bare and not self.classifier and not trained and not self.train_defense
        ):
            raise InputError("a row named 'none' must be the bare classifier")
        if self.train_defense and not (bare and not self.classifier and not trained):
            raise InputError(f"{self.name}: train_defense makes all of the row; give nothing else")
        if self.bpp is not None and not self.train_purifier:
            raise InputError(f"{self.name}: bpp needs train_purifier; else write NAME@BPP")
        if self.train_purifier and not bare:
            raise InputError(f"{self.name}: give purifier or train_purifier, not both")
        if self.train_classifier and self.classifier:
            raise InputError(f"{self.name}: give classifier or train_classifier, not both")
        if self.purified and (
            self.train_classifier is None
            or self.train_classifier.purifier
            or (bare and not isinstance(self.train_purifier, PurifierRecipe))
        ):
            raise InputError(
                f"{self.name}: purified needs a ComDefend before the classifier, and a "
                "train_classifier without a purifier of its own"
            )


class Experiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is evaluated, on what, against which attacks.

    Attributes:
        name: Name of the record.
        title: One line for people.
        data: Data set, as `load_image_set` names it; its test split is used.
        classifier: As `comdefend.classifiers.open_classifier` names it; where it is trained, what
            tables call it.
        train_classifier: Train the classifier by this recipe first.
        defenses: The rows.
        oblivious: Attacks made on each row's bare classifier, and, where that is not the
            experiment's own, on the experiment's too (transfer).
        adaptive: Attacks made through each row's whole pipeline, in this order, each on the images
            that still stand.
        query: Attacks through the whole pipeline that see outputs only.
        corruptions: What may happen to images without an attacker, as `load_defense` names it
            (``noise:0.1``, ``jpeg:10``, ``median:5``): each row's accuracy on such images.
        stand_ins: Surrogate gradients for the threshold: adaptive attacks try one after the other
            on each image until it breaks.
        draws: Draws that attacks and verdicts average over where a defence or classifier is random.
        checks: Images on which the sanity checks are made; 0 for none.
        images: Size of the sample; 0 for all images.
        resize: Resize the shorter side of the images to this; 0 to leave it.
        crop: Side of the central square that is cut out of the images; 0 to leave them.
        fit: Resize and crop the images as the classifier is known to take them, where they differ
            in size or from that.
        skip_unreadable: Leave out image files that cannot be read.
        mean, std: What the classifier expects images to be normalised by, if it does not do so.
        checkpoint: Weights of the classifier, where its name needs them.
        classes: Names of the classifier's classes in the order of its outputs, or a file of them,
            as `read_class_names` takes it.
        seed: Seed of the sample and of all attacks.
    """

    name: str
    title: str
    data: str
    classifier: str
    defenses: tuple[DefensePlan, ...]
    oblivious: tuple[AttackPlan, ...] = ()
    adaptive: tuple[AttackPlan, ...] = ()
    query: tuple[AttackPlan, ...] = ()
    corruptions: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ("identity", "sigmoid-10", "sigmoid-100", "noisy")
    draws: int = 10
    checks: int = 32
    images: int = SAMPLE
    resize: int = 0
    crop: int = 0
    fit: bool = False
    skip_unreadable: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    checkpoint: str | None = None
    classes: str | tuple[str, ...] | None = None
    train_classifier: ClassifierRecipe | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        schema.check_positive(self, "draws")
        schema.check_not_negative(self, "checks", "images", "resize", "crop")
        if not 0 <= self.seed < MAX_SEED:
            raise InputError(f"seed must be from 0 to {MAX_SEED - 1}: {self.seed}")
        if not self.defenses:
            raise InputError("defenses: name at least one")
        names = [defense.name for defense in self.defenses]
        if len(set(names)) < len(names):
            raise InputError(f"defenses: two rows of the same name among {names}")
        check_stand_ins(self.stand_ins)
        if not self.stand_ins:
            raise InputError("stand_ins: name at least one")
        if any(plan.made_on or not plan.rounded for plan in (*self.adaptive, *self.query)):
            raise InputError("made_on and rounded are for oblivious attacks")
        if self.train_classifier and (self.checkpoint or self.mean):
            raise InputError("a classifier that is trained takes no checkpoint, mean or std")
        if self.fit and (self.resize or self.crop):
            raise InputError("fit decides about resize and crop; leave them out")
        if (self.mean is None) != (self.std is None):
            raise InputError("mean and std: give both or neither")
        if re.search(r"[/\\]|^\.", self.name):
            raise InputError(f"name must be that of a folder, not a path: {self.name!r}")

    @property
    def plans(self) -> tuple[AttackPlan, ...]:
        """All attacks."""
        return (*self.oblivious, *self.adaptive, *self.query)

    @property
    def classifier_spec(self) -> ClassifierSpec:
        """The classifier, with all that opening it takes."""
        return ClassifierSpec(self.classifier, self.checkpoint, self.mean, self.std, self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Return the experiment as plain JSON types, as an experiment file holds them."""
        return schema.to_plain(self)
