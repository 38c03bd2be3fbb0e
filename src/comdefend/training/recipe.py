"""Recipes: everything that decides what a training run produces, as data."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, TypeVar

from comdefend.attacks import check_stand_ins
from comdefend.common import settings
from comdefend.errors import InputError
from comdefend.nn.classifier import ClassifierConfig
from comdefend.nn.config import PurifierConfig
from comdefend.nn.denoiser import DenoiserConfig
from comdefend.nn.pixelcnn import PixelCNNConfig

RECIPES = resources.files("comdefend.training") / "recipes"


class _InSteps:
    """What recipes share whose training is counted in steps."""

    steps: int
    epoch_steps: int

    @property
    def epochs(self) -> int:
        """Number of epochs, each of ``epoch_steps`` steps."""
        return self.steps // self.epoch_steps

    def _check_epochs(self) -> None:
        if self.steps % self.epoch_steps:
            raise InputError(
                f"steps ({self.steps}) must be a multiple of epoch_steps ({self.epoch_steps})"
            )


@dataclass(frozen=True)
class PurifierRecipe(_InSteps):
    """How a purifier is trained.

    Attributes:
        data: Data set, as `load_image_set` names it; its training split is used.
        network: The purifier's architecture, its noise phi included.
        start: Weights to start from, a shipped name or a ``.safetensors`` file of the same layers;
            by default training starts from orthogonal filters.
        teacher: A purifier with a code of the same layout, a shipped name or a ``.safetensors``
            file: learn to give its code, and to rebuild images from it, instead of finding one.
        steps: Steps of training.
        batch: Crops in a step, over all processes together.
        crop: Side of the square crops, in pixels.
        learning_rate: Of Muon, for filters.
        logit_rate: Factor on it for the filter that makes the logits.
        bias_rate: Learning rate of Adam, for biases.
        weight_decay: Of Muon; without it filters grow as long as training lasts, and |z| with them,
            until so few logits lie within the noise that the encoder stops learning.
        code_weight: lambda, the weight of ||c||^2 in the loss.
        teaching: Weight of the teacher's code in the loss, where there is one (`taught_loss`).
        epoch_steps: Steps between two checkpoints, reconstruction panels and validations.
        validation: Training images held out for validation, never trained on.
        seed: Seed of initialisation, crops and noise.
    """

    data: str
    network: PurifierConfig
    steps: int
    start: str | None = None
    teacher: str | None = None
    batch: int = 8
    crop: int = 16
    learning_rate: float = 4e-3
    logit_rate: float = 0.25
    bias_rate: float = 1e-3
    weight_decay: float = 0.0
    code_weight: float = 1e-4
    teaching: float = 30.0
    epoch_steps: int = 250
    validation: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        settings.check_types(self)
        settings.check_positive(
            self, "steps", "batch", "crop", "learning_rate", "logit_rate", "bias_rate",
            "epoch_steps", "validation",
        )  # fmt: skip
        for name in ("weight_decay", "code_weight", "teaching"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative: {getattr(self, name)}")
        if self.teacher and self.network.rates:
            raise InputError("teacher: its code is whole; the network's rates must be empty")
        self._check_epochs()


@dataclass(frozen=True)
class ClassifierRecipe:
    """How a small classifier is trained.

    Attributes:
        data: Data set, as `load_image_set` names it; its training split is used.
        network: The classifier's architecture; training replaces its mean and standard deviation
            by those of the training images.
        epochs: Passes over the training images.
        start: Weights to start from, a shipped name or a ``.safetensors`` file of the same layers,
            which keep their mean and standard deviation; by default training starts at random.
        batch: Images in a step.
        learning_rate: Of Muon, for filters.
        bias_rate: Peak learning rate of Adam, for all other parameters.
        label_smoothing: Share of the target spread over all classes.
        translate: Pixels by which training images are shifted at most.
        cutout: Side of the square that is blanked in training images; 0 for none.
        flip: Mirror half of the training images.
        purifier: Train on images purified by these weights, a shipped name or a ``.safetensors``
            file (the paper's defence at training and test time).
        attack_steps: Train on images attacked in this many steps from a random start: 1 is fast
            adversarial training (Wong et al. 2020), several are that of Madry et al. 2018; 0 is
            training on images as they are.
        attack_eps: Bound of those attacks, in units of 1/255.
        complement: Add the complement objective (Chen et al. 2019) to the loss.
        validation: Training images held out for validation, never trained on.
        seed: Seed of initialisation, order and augmentation.
    """

    data: str
    network: ClassifierConfig
    epochs: int
    start: str | None = None
    batch: int = 128
    learning_rate: float = 0.05
    bias_rate: float = 5e-3
    label_smoothing: float = 0.1
    translate: int = 2
    cutout: int = 0
    flip: bool = True
    purifier: str | None = None
    attack_steps: int = 0
    attack_eps: float = 8.0
    complement: bool = False
    validation: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        settings.check_types(self)
        settings.check_positive(self, "epochs", "batch", "learning_rate", "bias_rate", "validation")
        if not 0 <= self.translate <= 8 or not 0 <= self.cutout <= 16:
            raise InputError("translate must be from 0 to 8 and cutout from 0 to 16 pixels")
        if self.attack_steps < 0 or not 0 < self.attack_eps <= 255:
            raise InputError("attack_steps must not be negative, attack_eps above 0, at most 255")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing must be in [0, 1): {self.label_smoothing}")


@dataclass(frozen=True)
class DenoiserRecipe(_InSteps):
    """How a denoiser is trained, guided by a classifier (HGD, Liao et al. 2018).

    Attributes:
        data: Data set, as `load_image_set` names it; its training split is used.
        network: The denoiser's architecture.
        classifier: The guide, whose logits count: weights of a small classifier, a shipped name
            or a ``.safetensors`` file.
        steps: Steps of training.
        batch: Clean images in a step; the same number of attacked ones comes with them.
        learning_rate: Peak learning rate of Muon, for filters.
        bias_rate: Peak learning rate of Adam, for all other parameters.
        attack_eps: Largest bound of the attacks, in units of 1/255; each step draws its own.
        attack_steps: Most steps of the attacks; each step of training draws its number.
        epoch_steps: Steps between two checkpoints and validations.
        validation: Training images held out for validation, never trained on.
        seed: Seed of initialisation, order and attacks.
    """

    data: str
    network: DenoiserConfig
    classifier: str
    steps: int
    batch: int = 32
    learning_rate: float = 0.02
    bias_rate: float = 5e-3
    attack_eps: int = 16
    attack_steps: int = 3
    epoch_steps: int = 100
    validation: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        settings.check_types(self)
        settings.check_positive(
            self, "steps", "batch", "learning_rate", "bias_rate", "attack_eps", "attack_steps",
            "epoch_steps", "validation",
        )  # fmt: skip
        if self.attack_eps > 255:
            raise InputError(f"attack_eps must be at most 255: {self.attack_eps}")
        self._check_epochs()


@dataclass(frozen=True)
class PixelCNNRecipe(_InSteps):
    """How a model of images is trained, for PixelDefend (Song et al. 2018).

    Attributes:
        data: Data set, as `load_image_set` names it; its training split is used.
        network: The model's architecture, and how far PixelDefend moves values.
        steps: Steps of training.
        batch: Images in a step.
        learning_rate: Peak learning rate of Muon, for filters.
        bias_rate: Peak learning rate of Adam, for all other parameters.
        epoch_steps: Steps between two checkpoints and validations.
        validation: Training images held out for validation, never trained on.
        seed: Seed of initialisation and order.
    """

    data: str
    network: PixelCNNConfig
    steps: int
    batch: int = 16
    learning_rate: float = 0.02
    bias_rate: float = 5e-3
    epoch_steps: int = 100
    validation: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        settings.check_types(self)
        settings.check_positive(
            self, "steps", "batch", "learning_rate", "bias_rate", "epoch_steps", "validation"
        )
        self._check_epochs()


@dataclass(frozen=True)
class DefenseRecipe:
    """How a purifier and the classifier behind it are trained against who attacks both.

    Attributes:
        data: Data set, as `load_image_set` names it; its training split is used.
        classifier: Weights to start from, as `comdefend.load_classifier` names them; where it is
            left as it is, any classifier that `comdefend.classifiers.open_classifier` opens.
        purifier: Weights to start from, as `comdefend.load` names them; ``none`` trains the
            classifier alone, or a new purifier of the architecture ``network``.
        epochs: Passes over the training images.
        network: Architecture of a purifier that is trained from the beginning; none to start from
            ``purifier``.
        clean_epochs: The first so many of the epochs train the purifier alone, to rebuild clean
            images: attacks through one that rebuilds nothing yet would teach the classifier little.
        trained: ``both``, ``purifier`` or ``classifier``; what is not trained stays as it is.
        batch: Images in a step.
        learning_rate: Peak learning rate of Muon, for filters.
        bias_rate: Peak learning rate of Adam, for all other parameters.
        attack_eps: Bound of the attacks through the whole pipeline, in units of 1/255.
        attack_steps: Steps of each from a random start.
        stand_ins: What the attacks take for the threshold's gradient, by turns, each a name of
            `comdefend.attacks.STAND_INS`: a pair that meets one alone learns to mislead that one.
        noisy: Add the noise of training to the code of attacked images too. Without it training
            meets the hard code as it was attacked, with the gradient that the attack took.
        rebuilding: Weight of `purifier_loss`, a pixel, beside the cross-entropy.
        code_weight: lambda, the weight of ||c||^2 in it.
        averaging: Decay of the moving average of the weights, a step; the average is what is kept.
        translate: Pixels by which training images are shifted at most.
        flip: Mirror half of the training images.
        validation: Training images held out to choose the epoch by, never trained on.
        seed: Seed of order, augmentation, attacks and noise.
    """

    data: str
    classifier: str
    epochs: int
    purifier: str = "none"
    network: PurifierConfig | None = None
    clean_epochs: int = 0
    trained: str = "both"
    batch: int = 128
    learning_rate: float = 0.01
    bias_rate: float = 1e-3
    attack_eps: float = 8.0
    attack_steps: int = 1
    stand_ins: tuple[str, ...] = ("identity", "sigmoid-10", "sigmoid-100")
    noisy: bool = True
    rebuilding: float = 1.0
    code_weight: float = 1e-4
    averaging: float = 0.995
    translate: int = 2
    flip: bool = True
    validation: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        settings.check_types(self)
        settings.check_positive(
            self, "epochs", "batch", "learning_rate", "bias_rate", "attack_eps", "attack_steps",
            "validation",
        )  # fmt: skip
        for name in ("rebuilding", "code_weight"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative: {getattr(self, name)}")
        if self.attack_eps > 255:
            raise InputError(f"attack_eps must be at most 255: {self.attack_eps}")
        if not self.stand_ins:
            raise InputError("stand_ins: name at least one")
        check_stand_ins(self.stand_ins)
        if not 0 <= self.averaging < 1:
            raise InputError(f"averaging must be at least 0 and below 1: {self.averaging}")
        if not 0 <= self.translate <= 8:
            raise InputError(f"translate must be from 0 to 8 pixels: {self.translate}")
        if self.network and self.purifier != "none":
            raise InputError("give purifier or network, not both")
        if not 0 <= self.clean_epochs < self.epochs:
            raise InputError(
                f"clean_epochs must be at least 0 and fewer than epochs ({self.epochs}): "
                f"{self.clean_epochs}"
            )
        if self.network:
            wanted: tuple[str, ...] = ("both", "purifier")
        elif self.purifier != "none":
            wanted = ("both", "purifier", "classifier")
        else:
            wanted = ("classifier",)
        if self.trained not in wanted:
            raise InputError(f"trained must be {' or '.join(wanted)}, not '{self.trained}'")
        if self.clean_epochs and self.trained == "classifier":
            raise InputError("clean_epochs train the purifier, which trained: classifier leaves")

    @property
    def purifies(self) -> bool:
        """Whether there is a purifier in front of the classifier."""
        return self.network is not None or self.purifier != "none"


Recipe = PurifierRecipe | ClassifierRecipe | DenoiserRecipe | PixelCNNRecipe | DefenseRecipe
# Each with its network's configuration, and whether every recipe needs one.
_KINDS: dict[str, tuple[type[Recipe], Any, bool]] = {
    "purifier": (PurifierRecipe, PurifierConfig, True),
    "classifier": (ClassifierRecipe, ClassifierConfig, True),
    "denoiser": (DenoiserRecipe, DenoiserConfig, True),
    "pixelcnn": (PixelCNNRecipe, PixelCNNConfig, True),
    # Its networks may come with the weights that it starts from.
    "defense": (DefenseRecipe, PurifierConfig, False),
}
PURIFYING: tuple[type[PurifierRecipe | DenoiserRecipe | PixelCNNRecipe], ...] = (
    PurifierRecipe,
    DenoiserRecipe,
    PixelCNNRecipe,
)
"""The recipes whose networks purify images, or tell PixelDefend how to."""

_Recipe = TypeVar("_Recipe", bound=Recipe)
_Kind = type[_Recipe] | tuple[type[_Recipe], ...]


def kind_of(recipe: Recipe) -> str:
    """Return a recipe's kind, as recipe files write it."""
    return next(name for name, (kind, *_) in _KINDS.items() if isinstance(recipe, kind))


def recipes(kind: _Kind[_Recipe]) -> list[str]:
    """Return the names of the shipped recipes of one kind, or of several."""
    names = []
    for file in RECIPES.iterdir():
        if file.name.endswith(".yaml") and isinstance(_read(file.read_text(), file.name), kind):
            names.append(file.name.removesuffix(".yaml"))
    return sorted(names)


def load_recipe(name: str, kind: _Kind[_Recipe], **changes: Any) -> _Recipe:
    """Load a recipe by its shipped name or from a YAML file.

    Args:
        name: A name of `recipes`, or a path that ends in ``.yaml``.
        kind: The class of recipe that is wanted, or several such as `PURIFYING`.
        changes: Fields to replace; those that are None stay. ``start`` takes the place of a
            `DefenseRecipe`'s purifier, and of the epochs in which a new one learns to rebuild.

    Raises:
        InputError: No such recipe, one of another kind, a bad field, or a purifier to start from
            where there is none.
        DataMissingError: The file does not exist.
    """
    if name.endswith((".yaml", ".yml")):
        recipe = _read(settings.read_text(name), name)
    else:
        file = RECIPES / f"{name}.yaml"
        if name not in recipes(kind):
            known = ", ".join(recipes(kind))
            raise InputError(f"unknown recipe '{name}'; shipped: {known}; or give a .yaml file")
        recipe = _read(file.read_text(), file.name)
    if not isinstance(recipe, kind):
        wanted = " or a ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise InputError(f"{name}: is a {type(recipe).__name__}, not a {wanted}")
    wanted_changes = {field: value for field, value in changes.items() if value is not None}
    if isinstance(recipe, DefenseRecipe) and "start" in wanted_changes:
        if not recipe.purifies:
            raise InputError(f"{name}: has no purifier, so none to start from")
        start = wanted_changes.pop("start")
        wanted_changes |= {"purifier": start, "network": None, "clean_epochs": 0}
    if unknown := sorted(set(wanted_changes) - {f.name for f in dataclasses.fields(recipe)}):
        raise InputError(f"{name}: a {type(recipe).__name__} has no {' and no '.join(unknown)}")
    return dataclasses.replace(recipe, **wanted_changes)


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain JSON types, as a recipe file holds it."""
    return {"kind": kind_of(recipe), **dataclasses.asdict(recipe)}


def build_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """Make a recipe from plain values, as a recipe file holds them.

    Raises:
        InputError: A bad field.
    """
    fields = dict(values)
    name = str(fields.pop("kind", ""))
    if name not in _KINDS:
        known = " or ".join(f"'kind: {kind}'" for kind in _KINDS)
        raise InputError(f"{where}: needs {known}")
    kind, config, needed = _KINDS[name]
    if needed or fields.get("network"):
        network = settings.mapping(fields.get("network") or {}, f"{where}: network")
        try:
            fields["network"] = config.from_dict(network)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
    return settings.build(kind, fields | lists, where)


def _read(text: str, where: str) -> Recipe:
    return build_recipe(settings.parse(text, where), where)
