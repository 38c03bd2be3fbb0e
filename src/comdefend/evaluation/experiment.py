"""Experiments: everything that decides what an evaluation measures, as data."""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from comdefend.attacks import ATTACKS, check_stand_ins
from comdefend.common import settings
from comdefend.errors import InputError
from comdefend.training.recipe import (
    PURIFYING,
    ClassifierRecipe,
    DefenseRecipe,
    DenoiserRecipe,
    PixelCNNRecipe,
    PurifierRecipe,
    Recipe,
    build_recipe,
    load_recipe,
    recipe_to_dict,
)

# What recipes a field that asks for training may hold, and which kind it means by default.
_TRAINED: dict[str, tuple[tuple[type[Recipe], ...], str]] = {
    "train_purifier": (PURIFYING, "purifier"),
    "train_classifier": ((ClassifierRecipe,), "classifier"),
    "train_defense": ((DefenseRecipe,), "defense"),
}

EXPERIMENTS = resources.files("comdefend.evaluation") / "experiments"


@dataclass(frozen=True)
class AttackPlan:
    """One attack, at one or several bounds.

    Attributes:
        attack: A name of `comdefend.attacks.ATTACKS`.
        eps: Bounds on the largest change of a value, in units of 1/255. Empty, for attacks that
            look for the smallest perturbation: whatever they find.
        steps: Steps of an iterative attack; the attack's own default where missing.
        images: Attack this many images of the sample, the first ones; all where missing.
        stand_ins: What it takes for the threshold's gradient, one after the other; those of the
            experiment where empty.
    """

    attack: str
    eps: tuple[float, ...] = ()
    steps: int | None = None
    images: int | None = None
    stand_ins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        settings.check_types(self)
        if self.attack not in ATTACKS:
            raise InputError(f"unknown attack '{self.attack}'; known: {', '.join(ATTACKS)}")
        if not self.eps and ATTACKS[self.attack].norm == "Linf":
            raise InputError(f"attack '{self.attack}' needs eps, in units of 1/255")
        for eps in self.eps:
            # Images are rounded to 8 bits: half a step would be rounded up or away.
            number = isinstance(eps, int | float) and not isinstance(eps, bool)
            if not number or not math.isfinite(eps) or eps != int(eps):
                raise InputError(f"eps must be whole numbers of 1/255, not {eps!r}")
            if not 0 < eps <= 255:
                raise InputError(f"eps must be above 0 and at most 255, not {eps!r}")
        for name in ("steps", "images"):
            if getattr(self, name) is not None:
                settings.check_positive(self, name)
        check_stand_ins(self.stand_ins)


@dataclass(frozen=True)
class DefensePlan:
    """One row of a results table: a purifier in front of a classifier.

    Attributes:
        name: What tables call it.
        purifier: As `comdefend.defenses.load_defense` names it.
        classifier: The classifier behind it, if not the experiment's own: one that was trained on
            purified images, or against attacks.
        train_purifier: Train the purifier by this recipe first; files may name a shipped one.
        bpp: Use that purifier at these bits a pixel, where it works at several.
        train_classifier: Train the classifier by this recipe first; files may name a shipped one.
        purified: Train it on images that went through this row's purifier.
        train_defense: Train both, or the classifier alone, against attacks by this recipe first.
    """

    name: str
    purifier: str = "none"
    classifier: str | None = None
    train_purifier: PurifierRecipe | DenoiserRecipe | PixelCNNRecipe | None = None
    bpp: float | None = None
    train_classifier: ClassifierRecipe | None = None
    purified: bool = False
    train_defense: DefenseRecipe | None = None

    def __post_init__(self) -> None:
        settings.check_types(self)
        trained = (self.train_purifier, self.train_classifier, self.train_defense)
        if self.name == "none" and (self.purifier, self.classifier, *trained) != (
            "none",
            *[None] * 4,
        ):
            raise InputError("a row named 'none' must be the bare classifier")
        if self.train_defense and (self.purifier, self.classifier, *trained[:2]) != (
            "none",
            *[None] * 3,
        ):
            raise InputError(
                f"{self.name}: train_defense makes all of the row; give nothing beside"
            )
        if self.bpp is not None and not self.train_purifier:
            raise InputError(f"{self.name}: bpp needs train_purifier; else write NAME@BPP")
        if self.train_purifier and self.purifier != "none":
            raise InputError(f"{self.name}: give purifier or train_purifier, not both")
        if self.train_classifier and self.classifier:
            raise InputError(f"{self.name}: give classifier or train_classifier, not both")
        if self.purified and (
            self.train_classifier is None
            or self.train_classifier.purifier
            or (self.purifier == "none" and not isinstance(self.train_purifier, PurifierRecipe))
        ):
            raise InputError(
                f"{self.name}: purified needs a ComDefend before the classifier, and a "
                "train_classifier with no purifier of its own"
            )


@dataclass(frozen=True)
class Experiment:
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
            (``noise:0.1``, ``jpeg:10``, ``median:5``): each row's accuracy on images so changed.
        stand_ins: What adaptive attacks take for the threshold's gradient; each image is attacked
            with one after the other until it breaks.
        draws: Draws that attacks and verdicts average over where a defence is random.
        checks: Images on which the sanity checks are made; 0 for none.
        images: Size of the sample; 0 for all images.
        crop: Side of the central square that is cut out of the images; 0 to leave them.
        mean, std: What the classifier expects images to be normalised by, if it does not do so.
        checkpoint: Weights of the classifier, where its name needs them.
        seed: Seed of the sample and of all attacks.
    """

    name: str
    title: str
    data: str
    classifier: str
    defenses: tuple[DefensePlan, ...]
    oblivious: tuple[AttackPlan, ...]
    adaptive: tuple[AttackPlan, ...]
    query: tuple[AttackPlan, ...] = ()
    corruptions: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ("identity", "sigmoid-10", "sigmoid-100", "noisy")
    draws: int = 10
    checks: int = 32
    images: int = 500
    crop: int = 0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    checkpoint: str | None = None
    train_classifier: ClassifierRecipe | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        settings.check_types(self)
        settings.check_positive(self, "draws")
        for name in ("checks", "images", "crop"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative: {getattr(self, name)}")
        if not self.defenses:
            raise InputError("defenses: name at least one")
        names = [defense.name for defense in self.defenses]
        if len(set(names)) < len(names):
            raise InputError(f"defenses: two rows of the same name among {names}")
        check_stand_ins(self.stand_ins)
        if not self.stand_ins:
            raise InputError("stand_ins: name at least one")
        if not self.adaptive:
            raise InputError("adaptive: name at least one attack; no oblivious figure stands alone")
        if wrong := [p.attack for p in self.query if ATTACKS[p.attack].kind != "query"]:
            raise InputError(f"query: attacks must be without gradients, not {wrong}")
        if self.train_classifier and (self.checkpoint or self.mean):
            raise InputError("a classifier that is trained takes no checkpoint, mean or std")
        if not all(isinstance(name, str) for name in self.corruptions):
            raise InputError(f"corruptions must be names: {self.corruptions}")
        if (self.mean is None) != (self.std is None):
            raise InputError("mean and std: give both or neither")
        for name in ("mean", "std"):
            values = getattr(self, name) or ()
            if not isinstance(values, tuple) or not all(
                isinstance(value, int | float) for value in values
            ):
                raise InputError(f"{name} must be a list of numbers")
        if re.search(r"[/\\]|^\.", self.name):
            raise InputError(f"name must be that of a folder, not a path: {self.name!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the experiment as plain JSON types, as an experiment file holds them."""
        plain = dataclasses.asdict(self)
        for row, fields in ((self, plain), *zip(self.defenses, plain["defenses"], strict=True)):
            for name in _TRAINED:
                if recipe := getattr(row, name, None):
                    fields[name] = recipe_to_dict(recipe)
        return plain


def experiments() -> list[str]:
    """Return the names of the experiments that ship."""
    files = (file.name for file in EXPERIMENTS.iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def load_experiment(name: str, profile: str = "small") -> Experiment:
    """Load an experiment by its shipped name or from a YAML file.

    Args:
        name: A name of `experiments`, or a path that ends in ``.yaml``.
        profile: ``small`` fits a machine with two cores, ``full`` wants a GPU; of no meaning for
            a file without profiles.

    Raises:
        InputError: No such experiment or profile, or a bad field.
        DataMissingError: The file does not exist.
    """
    values, where = _read(name)
    profiles = settings.mapping(values.pop("profiles", {}), f"{where}: profiles")
    stem = where.rpartition("/")[2].rpartition(".")[0]
    if not profiles:
        return build_experiment({"name": stem, **values}, where)
    if profile not in profiles:
        raise InputError(f"{where}: has no profile '{profile}'; it has: {', '.join(profiles)}")
    values |= settings.mapping(profiles[profile] or {}, f"{where}: profile {profile}")
    return build_experiment({"name": f"{stem}-{profile}", **values}, where)


def profiles_of(name: str) -> list[str]:
    """Return the profiles that an experiment has."""
    return list(_read(name)[0].get("profiles", {}))


def build_experiment(values: Mapping[str, Any], where: str) -> Experiment:
    """Make an experiment from plain values, as a YAML file or a record holds them.

    Raises:
        InputError: A bad field.
    """
    fields = dict(values)
    _recipe(fields, "train_classifier", where)
    fields["defenses"] = tuple(_defense(d, where) for d in _sequence(fields, "defenses", where))
    for kind in ("oblivious", "adaptive", "query"):
        fields[kind] = tuple(_attack(a, f"{where}: {kind}") for a in _sequence(fields, kind, where))
    for name in ("corruptions", "stand_ins", "mean", "std"):
        if isinstance(fields.get(name), list):
            fields[name] = tuple(fields[name])
    return settings.build(Experiment, fields, where)


def _read(name: str) -> tuple[dict[str, Any], str]:
    if name.endswith((".yaml", ".yml")):
        return settings.parse(settings.read_text(name), name), name
    if name not in experiments():
        known = ", ".join(experiments())
        raise InputError(f"unknown experiment '{name}'; shipped: {known}; or give a .yaml file")
    file = EXPERIMENTS / f"{name}.yaml"
    return settings.parse(file.read_text(encoding="utf-8"), file.name), file.name


def _sequence(fields: Mapping[str, Any], name: str, where: str) -> list[Any]:
    values = fields.get(name, [])
    if not isinstance(values, list | tuple):
        raise InputError(f"{where}: {name} must be a list")
    return list(values)


def _defense(value: Any, where: str) -> DefensePlan:
    """A defence by its purifier alone, or with a name of its own and a classifier."""
    if isinstance(value, str):
        return DefensePlan(value, value)
    where = f"{where}: defenses"
    fields = settings.mapping(value, where)
    for name in _TRAINED:
        _recipe(fields, name, where)
    return settings.build(DefensePlan, fields, where)


def _recipe(fields: dict[str, Any], name: str, where: str) -> None:
    """Turn what a field says of a recipe, its shipped name or all of it, into the recipe."""
    value, where = fields.get(name), f"{where}: {name}"
    wanted, kind = _TRAINED[name]
    if isinstance(value, str):
        fields[name] = load_recipe(value, wanted)
    elif value is not None:
        recipe = build_recipe({"kind": kind, **settings.mapping(value, where)}, where)
        if not isinstance(recipe, wanted):
            raise InputError(f"{where}: a {type(recipe).__name__} makes no {kind}")
        fields[name] = recipe


def _attack(value: Any, where: str) -> AttackPlan:
    fields = settings.mapping(value, where)
    for name in ("eps", "stand_ins"):
        if isinstance(fields.get(name), list):
            fields[name] = tuple(fields[name])
    return settings.build(AttackPlan, fields, where)
