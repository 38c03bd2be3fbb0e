"""The kinds of recipe that train against attacks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from msgspec.structs import force_setattr

from comdefend.attacks import check_eps, check_stand_ins
from comdefend.classifiers import ClassifierSpec, as_spec
from comdefend.common.schema import build, check_not_negative, check_positive
from comdefend.errors import InputError
from comdefend.nn.classifier import ClassifierConfig
from comdefend.nn.config import PurifierConfig
from comdefend.nn.denoiser import DenoiserConfig
from comdefend.training.base_recipe import (
    BaseRecipe,
    RecipeInSteps,
    check_image_noise,
    check_share,
    check_zoom,
)

Attacked = Literal["classifier", "pipeline", "none"]
Attack = Literal["pgd", "n-fgsm"]

if TYPE_CHECKING:
    Behind = str | ClassifierSpec | ClassifierConfig
else:
    # msgspec decodes no union of two structures without tags; `_behind` tells them apart.
    Behind = Annotated[Any, str | ClassifierSpec | ClassifierConfig]


class DenoiserRecipe(RecipeInSteps, frozen=True, kw_only=True, tag="denoiser"):
    """How to train a denoiser guided by a classifier (HGD, Liao et al. 2018).

    Attributes:
        network: The denoiser's architecture.
        classifier: The guide, whose logits count: weights of a small classifier, a shipped name
            or a ``.safetensors`` file.
        batch: Clean images per step; as many attacked ones are added to them.
        attack_eps: Largest bound of the attacks, in units of 1/255; each step draws its own.
        attack_steps: Most steps of the attacks; each training step draws its own number.
    """

    network: DenoiserConfig
    classifier: str
    batch: int = 32
    learning_rate: float = 0.02
    bias_rate: float = 5e-3
    attack_eps: int = 16
    attack_steps: int = 3
    epoch_steps: int = 100
    validation: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        check_attack(self)


class GuidedRecipe(RecipeInSteps, frozen=True, kw_only=True, tag="guided"):
    """How to train a purifier by what classifiers make of its images, without labels.

    Attributes:
        classifiers: The guides, as `comdefend.classifiers.open_classifier` opens them, which take
            turns: names, or mappings with the fields of a `ClassifierSpec`. They stay as they are.
        start: Weights of the purifier to start from, a shipped name or a ``.safetensors`` file.
        rates: Numbers of maps to train at besides the whole code, some of those of the start.
        crop: Side of the crops, in pixels: what the classifiers take.
        zoom, flip: As for `PurifierRecipe`.
        attack: Whom the attacks of training meet: ``classifier`` (the attacker does not know the
            purifier), ``pipeline`` (the attacker has both), or ``none``.
        attack_eps: Largest bound of the attacks, in units of 1/255; each step draws its own.
        attack_ramp: Share of the training, from 0 to 1, over which the largest bound grows from 0
            to ``attack_eps``; 0 for the full bound from the first step on.
        attack_steps: Steps of each attack, from a random start.
        stand_ins: Gradients that attacks on the pipeline use in place of the threshold's, in turn,
            names from `comdefend.attacks.STAND_INS`.
        image_noise: As for `PurifierRecipe`, on clean and attacked images; the answers are still
            compared with those to the images without noise, as certifying needs. With
            ``attack: none`` and no ``rebuilding`` it is the STAB objective of Salman et al. 2020,
            except that the whole answer counts, and not its class alone.
        clean_share: Weight of the clean images against the attacked ones, from 0 to 1.
        rebuilding: Weight of the squared error per value, beside the divergence of the answers.
        start_share: Share of the start in the weights that the training ends with, from 0 to below
            1; the rest is what was learned. Weights in between are networks too, since the training
            moves them little (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
        logit_rate: As for `PurifierRecipe`.
    """

    classifiers: tuple[str | ClassifierSpec, ...]
    start: str
    rates: tuple[int, ...] = ()
    batch: int = 8
    crop: int = 224
    zoom: float = 1.5
    flip: bool = True
    learning_rate: float = 5e-3
    bias_rate: float = 3e-4
    logit_rate: float = 0.25
    attack: Attacked = "classifier"
    attack_eps: float = 8.0
    attack_ramp: float = 0.0
    attack_steps: int = 1
    stand_ins: tuple[str, ...] = ("identity", "sigmoid-10", "sigmoid-100")
    image_noise: tuple[float, ...] = ()
    clean_share: float = 0.5
    rebuilding: float = 10.0
    start_share: float = 0.0
    epoch_steps: int = 100
    validation: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "crop", "logit_rate")
        check_not_negative(self, "rebuilding")
        check_zoom(self.zoom)
        if self.attack not in (known := get_args(Attacked)):
            raise InputError(
                f"attack must be {', '.join(known[:-1])} or {known[-1]}: {self.attack}"
            )
        if not self.classifiers:
            raise InputError("classifiers: name at least one")
        if any(as_spec(classifier).classes for classifier in self.classifiers):
            raise InputError("classifiers: classes have no use here, where there are no labels")
        check_share(self, "attack_ramp", "clean_share")
        check_image_noise(self.image_noise)
        if not 0 <= self.start_share < 1:
            raise InputError(f"start_share must be at least 0 and below 1: {self.start_share}")
        check_attack(self)
        _check_stand_ins(self)

    @property
    def weights_file(self) -> str:
        """Name of the weight file that the training ends with."""
        return "purifier.safetensors"


class DefenseRecipe(BaseRecipe, frozen=True, kw_only=True, tag="defense"):
    """How to train a purifier, the classifier behind it, or both, against attacks.

    Attributes:
        classifier: Weights to start from, as `comdefend.load_classifier` names them, or the
            architecture of a new classifier. Where only the purifier is trained, any classifier
            that `comdefend.classifiers.open_classifier` opens: its name, or a mapping with the
            fields of a `ClassifierSpec`.
        purifier: Weights to start from, as `comdefend.load` names them; ``none`` for a classifier
            alone, or for a new purifier.
        network: Architecture of a new purifier; None to start from ``purifier``.
        epochs: Passes over the training images.
        clean_epochs: This many of the epochs, the first ones, train the purifier alone to rebuild
            clean images: attacks through a purifier that cannot rebuild yet teach the classifier
            little.
        trained: ``both``, ``purifier`` or ``classifier``; the other stays as it is.
        attack_eps: Bound of the attacks through the whole pipeline, in units of 1/255.
        attack_steps: Steps of each attack, from a random start.
        stand_ins: Gradients that the attacks use in place of the threshold's, in turn, names from
            `comdefend.attacks.STAND_INS`. A purifier trained against one alone learns to mislead
            that one.
        attack: ``pgd`` from a random start, or ``n-fgsm``, one step from noise of twice the bound,
            which may end outside it (de Jorge et al. 2022).
        attack_ramp: As for `GuidedRecipe`, after the clean epochs.
        noisy: Add the training noise to the code of attacked images too. Without it training sees
            the same hard code that was attacked, with the gradient that the attack used.
        teacher: Weights of a classifier whose answers to the clean images are learned in place of
            the labels (RSLAD, Zi et al. 2021), as `comdefend.load_classifier` names them; the clean
            epochs learn them too.
        clean_share: Weight of the clean images against the attacked ones, from 0 to 1; 0 trains on
            attacked ones alone.
        trades: Weight of the divergence between answers to clean and attacked images, beside the
            cross-entropy of the clean ones (TRADES, Zhang et al. 2019); 0 for another loss.
        rebuilding: Weight of `purifier_loss`, per pixel, beside the cross-entropy.
        code_weight: lambda, the weight of ||c||^2 in it.
        weight_decay: Of Muon.
        averaging: Decay per step of the moving average of the weights; the average is kept.
        translate: Largest shift of training images, in pixels.
        flip: Mirror half of the training images.
        validation: Training images held out to choose the best epoch by, never trained on; the
            default is at most a tenth of the images.
    """

    classifier: Behind
    epochs: int
    purifier: str = "none"
    network: PurifierConfig | None = None
    clean_epochs: int = 0
    trained: str = "both"
    batch: int = 128
    learning_rate: float = 0.01
    bias_rate: float = 1e-3
    attack: Attack = "pgd"
    attack_eps: float = 8.0
    attack_ramp: float = 0.0
    attack_steps: int = 1
    stand_ins: tuple[str, ...] = ("identity", "sigmoid-10", "sigmoid-100")
    noisy: bool = True
    teacher: str | None = None
    clean_share: float = 0.0
    trades: float = 0.0
    rebuilding: float = 1.0
    code_weight: float = 1e-4
    weight_decay: float = 0.0
    averaging: float = 0.995
    translate: int = 2
    flip: bool = True
    validation: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        force_setattr(self, "classifier", _behind(self.classifier))
        check_positive(self, "epochs")
        check_not_negative(self, "trades", "rebuilding", "code_weight", "weight_decay")
        check_share(self, "attack_ramp", "clean_share")
        check_attack(self)
        _check_stand_ins(self)
        if self.attack not in get_args(Attack):
            raise InputError(f"attack must be {' or '.join(get_args(Attack))}: {self.attack}")
        if self.attack == "n-fgsm" and self.attack_steps != 1:
            raise InputError("attack n-fgsm has one step; leave attack_steps at 1")
        if self.trades and (self.teacher or self.clean_share):
            raise InputError("trades is a loss of its own, without teacher and clean_share")
        if not 0 <= self.averaging < 1:
            raise InputError(f"averaging must be at least 0 and below 1: {self.averaging}")
        if not 0 <= self.translate <= 8:
            raise InputError(f"translate must be from 0 to 8 pixels: {self.translate}")
        self._check_trained()

    def _check_trained(self) -> None:
        if self.network and self.purifier != "none":
            raise InputError("give purifier or network, not both")
        choices = ["both"] * self.purifies
        # What is new has to be trained.
        choices += ["purifier"] * (self.purifies and self.opened is not None)
        choices += ["classifier"] * (self.network is None)
        if self.trained not in choices:
            raise InputError(f"trained must be {' or '.join(choices)}, not '{self.trained}'")
        if isinstance(self.classifier, ClassifierSpec) and self.trained != "purifier":
            raise InputError("a classifier that is trained has no checkpoint, mean, std or classes")
        if not 0 <= self.clean_epochs < self.epochs:
            raise InputError(
                f"clean_epochs must be at least 0 and fewer than epochs ({self.epochs}): "
                f"{self.clean_epochs}"
            )
        if self.clean_epochs and self.trained == "classifier":
            raise InputError("clean_epochs train the purifier; they need another 'trained'")

    @property
    def purifies(self) -> bool:
        """Whether there is a purifier in front of the classifier."""
        return self.network is not None or self.purifier != "none"

    @property
    def opened(self) -> ClassifierSpec | None:
        """The classifier to start from; None for a new one."""
        return None if isinstance(self.classifier, ClassifierConfig) else as_spec(self.classifier)

    @property
    def kept(self) -> ClassifierSpec | None:
        """The classifier that stays as it is; None where it is trained."""
        return self.opened if self.trained == "purifier" else None

    @property
    def weights_file(self) -> str:
        """Name of the weight file that the training ends with; with ``both``, the classifier's."""
        return f"{'purifier' if self.trained == 'purifier' else 'classifier'}.safetensors"


def _behind(value: Any) -> Behind:
    """Return a recipe's classifier, built if it is a mapping still.

    Raises:
        InputError: A field does not fit, or it is something else.
    """
    if isinstance(value, str | ClassifierSpec | ClassifierConfig):
        return value
    if isinstance(value, Mapping) and {"name", "checkpoint"} & value.keys():
        return build(ClassifierSpec, value, "classifier")
    return build(ClassifierConfig, value, "classifier")


def check_attack(recipe: DenoiserRecipe | GuidedRecipe | DefenseRecipe) -> None:
    """Raise InputError unless steps and bound of a recipe's attacks make sense."""
    check_positive(recipe, "attack_steps")
    check_eps(recipe.attack_eps, "attack_eps")


def _check_stand_ins(recipe: GuidedRecipe | DefenseRecipe) -> None:
    if not recipe.stand_ins:
        raise InputError("stand_ins: name at least one")
    check_stand_ins(recipe.stand_ins)
