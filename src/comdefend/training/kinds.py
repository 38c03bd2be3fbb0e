"""The kinds of recipe: everything that decides what a training run produces, as data."""

import math

import msgspec

from comdefend.attacks import check_eps, check_stand_ins
from comdefend.common.schema import check_not_negative, check_positive
from comdefend.errors import InputError
from comdefend.nn.classifier import ClassifierConfig
from comdefend.nn.config import PurifierConfig
from comdefend.nn.denoiser import DenoiserConfig
from comdefend.nn.pixelcnn import PixelCNNConfig

MAX_SEED = 2**32


class _Recipe(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """What all recipes share.

    Attributes:
        data: Data set, as `load_image_set` names it; its training split is used.
        batch: Images per step.
        learning_rate: Peak learning rate of Muon, for filters.
        bias_rate: Peak learning rate of Adam, for all other parameters.
        validation: Training images held out for validation, never trained on. Where it is the
            default of its kind, at most a tenth of the images is held out.
        seed: Seed of everything that is drawn at random.
    """

    data: str
    batch: int
    learning_rate: float
    bias_rate: float
    validation: int
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(self, "batch", "learning_rate", "bias_rate", "validation")
        if not 0 <= self.seed < MAX_SEED:
            raise InputError(f"seed must be from 0 to {MAX_SEED - 1}: {self.seed}")

    @property
    def kind(self) -> str:
        """The kind, as recipe files write it."""
        return str(self.__struct_config__.tag)

    @property
    def weights_file(self) -> str:
        """Name of the weight file that the training ends with."""
        return f"{self.kind}.safetensors"


class _RecipeInSteps(_Recipe, frozen=True, kw_only=True):
    """A recipe whose length is counted in steps.

    Attributes:
        steps: Training steps.
        epoch_steps: Steps between two validations, each with a checkpoint.
    """

    steps: int
    epoch_steps: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "steps", "epoch_steps")

    @property
    def epochs(self) -> int:
        """Number of epochs, each of ``epoch_steps`` steps; the last may be shorter."""
        return math.ceil(self.steps / self.epoch_steps)


class PurifierRecipe(_RecipeInSteps, frozen=True, kw_only=True, tag="purifier"):
    """How to train a purifier on clean images.

    Attributes:
        network: The purifier's architecture, its noise phi included.
        start: Weights to start from, a shipped name or a ``.safetensors`` file of the same layers;
            None starts from orthogonal filters.
        teacher: A purifier whose code has the same layout, a shipped name or a ``.safetensors``
            file: learn its code, and to rebuild images from it.
        batch: Crops per step, over all processes together.
        crop: Side of the crops, in pixels.
        logit_rate: Factor on the learning rate of the filter that makes the logits.
        weight_decay: Of Muon. Without it filters grow throughout the training and |z| with them,
            until so few logits lie within the noise that the encoder stops learning.
        code_weight: lambda, the weight of ||c||^2 in the loss.
        teaching: Weight of the teacher's code in the loss (`taught_loss`).
    """

    network: PurifierConfig
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

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "crop", "logit_rate")
        check_not_negative(self, "weight_decay", "code_weight", "teaching")
        if self.teacher and self.network.rates:
            raise InputError("teacher: the network's rates must be empty, a teacher has one rate")


class ClassifierRecipe(_Recipe, frozen=True, kw_only=True, tag="classifier"):
    """How to train a small classifier on clean or purified images.

    Attributes:
        network: The classifier's architecture. Training replaces its mean and standard deviation
            by those of the training images.
        epochs: Passes over the training images.
        start: Weights to start from, a shipped name or a ``.safetensors`` file of the same layers,
            which keep their mean and standard deviation; None starts at random.
        label_smoothing: Share of the target spread over all classes.
        translate: Largest shift of training images, in pixels.
        cutout: Side of the square that is blanked in training images; 0 for none.
        flip: Mirror half of the training images.
        purifier: Train on images purified by these weights, a shipped name or a ``.safetensors``
            file (the paper's defence at training and test time).
        complement: Add the complement objective (Chen et al. 2019) to the loss.
    """

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
    complement: bool = False
    validation: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "epochs")
        if not 0 <= self.translate <= 8 or not 0 <= self.cutout <= 16:
            raise InputError("translate must be from 0 to 8 and cutout from 0 to 16 pixels")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing must be in [0, 1): {self.label_smoothing}")


class DenoiserRecipe(_RecipeInSteps, frozen=True, kw_only=True, tag="denoiser"):
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
        _check_attack(self)


class PixelCNNRecipe(_RecipeInSteps, frozen=True, kw_only=True, tag="pixelcnn"):
    """How to train a generative model of images, for PixelDefend (Song et al. 2018).

    Attributes:
        network: The model's architecture, and how far PixelDefend moves values.
    """

    network: PixelCNNConfig
    batch: int = 16
    learning_rate: float = 0.02
    bias_rate: float = 5e-3
    epoch_steps: int = 100
    validation: int = 256


class DefenseRecipe(_Recipe, frozen=True, kw_only=True, tag="defense"):
    """How to train a purifier, the classifier behind it, or both, against attacks.

    Attributes:
        classifier: Weights to start from, as `comdefend.load_classifier` names them, or the
            architecture of a new classifier. Where only the purifier is trained, any classifier
            that `comdefend.classifiers.open_classifier` opens.
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
        noisy: Add the training noise to the code of attacked images too. Without it training sees
            the same hard code that was attacked, with the gradient that the attack used.
        rebuilding: Weight of `purifier_loss`, per pixel, beside the cross-entropy.
        code_weight: lambda, the weight of ||c||^2 in it.
        averaging: Decay per step of the moving average of the weights; the average is kept.
        translate: Largest shift of training images, in pixels.
        flip: Mirror half of the training images.
        validation: Training images held out to choose the best epoch by, never trained on; the
            default is at most a tenth of the images.
    """

    classifier: str | ClassifierConfig
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

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "epochs")
        check_not_negative(self, "rebuilding", "code_weight")
        _check_attack(self)
        if not self.stand_ins:
            raise InputError("stand_ins: name at least one")
        check_stand_ins(self.stand_ins)
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
        choices += ["purifier"] * (self.purifies and isinstance(self.classifier, str))
        choices += ["classifier"] * (self.network is None)
        if self.trained not in choices:
            raise InputError(f"trained must be {' or '.join(choices)}, not '{self.trained}'")
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
    def weights_file(self) -> str:
        """Name of the weight file that the training ends with; with ``both``, the classifier's."""
        return f"{'purifier' if self.trained == 'purifier' else 'classifier'}.safetensors"


Recipe = PurifierRecipe | ClassifierRecipe | DenoiserRecipe | PixelCNNRecipe | DefenseRecipe
PurifyingRecipe = PurifierRecipe | DenoiserRecipe | PixelCNNRecipe
"""The recipes for what purifies images."""


def _check_attack(recipe: DenoiserRecipe | DefenseRecipe) -> None:
    check_positive(recipe, "attack_steps")
    check_eps(recipe.attack_eps, "attack_eps")
