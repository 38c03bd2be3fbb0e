"""The kinds of recipe: everything that decides what a training run produces, as data."""

from comdefend.common.schema import check_not_negative, check_positive
from comdefend.errors import InputError
from comdefend.nn.classifier import ClassifierConfig
from comdefend.nn.config import PurifierConfig
from comdefend.nn.pixelcnn import PixelCNNConfig
from comdefend.training.attacked_kinds import DefenseRecipe, DenoiserRecipe, GuidedRecipe
from comdefend.training.base_recipe import (
    BaseRecipe,
    RecipeInSteps,
    check_image_noise,
    check_zoom,
)

__all__ = [
    "ClassifierRecipe",
    "DefenseRecipe",
    "DenoiserRecipe",
    "GuidedRecipe",
    "PixelCNNRecipe",
    "PurifierRecipe",
    "PurifyingRecipe",
    "Recipe",
]


class PurifierRecipe(RecipeInSteps, frozen=True, kw_only=True, tag="purifier"):
    """How to train a purifier on clean images.

    Attributes:
        network: The purifier's architecture, its noise phi included.
        start: Weights to start from, a shipped name or a ``.safetensors`` file of the same layers;
            None starts from orthogonal filters.
        teacher: A purifier whose code has the same layout, a shipped name or a ``.safetensors``
            file: learn its code, and to rebuild images from it.
        batch: Crops per step, over all processes together.
        crop: Side of the crops, in pixels.
        zoom: Largest factor by which crops of image files are shrunk; each crop draws its own.
        flip: Mirror half of the crops.
        image_noise: Standard deviations, for images in [0, 1], of normal noise on the crops; each
            crop draws one of them, is clamped to [0, 1] again, and the purifier learns to rebuild
            the crop without the noise (the MSE objective of Salman et al. 2020), as certifying
            needs. Empty for none.
        hard: Train with the hard code, 1 where a logit exceeds the noise phi * n, instead of the
            soft one; backwards it counts as the soft one.
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
    zoom: float = 1.0
    flip: bool = False
    image_noise: tuple[float, ...] = ()
    hard: bool = False
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
        check_zoom(self.zoom)
        if self.teacher and self.network.rates:
            raise InputError("teacher: the network's rates must be empty, a teacher has one rate")
        check_image_noise(self.image_noise)
        if self.teacher and self.image_noise:
            raise InputError(
                "teacher: image_noise must be empty, a teacher's code is of clean images"
            )


class ClassifierRecipe(BaseRecipe, frozen=True, kw_only=True, tag="classifier"):
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
        image_noise: As for `PurifierRecipe`: train on noisy images, or on what the purifier makes
            of them; every epoch draws new noise. As certifying needs (Cohen et al. 2019).
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
    image_noise: tuple[float, ...] = ()
    complement: bool = False
    validation: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "epochs")
        if not 0 <= self.translate <= 8 or not 0 <= self.cutout <= 16:
            raise InputError("translate must be from 0 to 8 and cutout from 0 to 16 pixels")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing must be in [0, 1): {self.label_smoothing}")
        check_image_noise(self.image_noise)


class PixelCNNRecipe(RecipeInSteps, frozen=True, kw_only=True, tag="pixelcnn"):
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


Recipe = (
    PurifierRecipe
    | ClassifierRecipe
    | DenoiserRecipe
    | PixelCNNRecipe
    | DefenseRecipe
    | GuidedRecipe
)
PurifyingRecipe = PurifierRecipe | DenoiserRecipe | PixelCNNRecipe | GuidedRecipe
"""The recipes for what purifies images."""
