"""What the kinds of recipe share."""

import math

import msgspec

from comdefend.common.schema import check_positive
from comdefend.errors import InputError

MAX_SEED = 2**32
MAX_ZOOM = 100


class BaseRecipe(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """What all recipes share.

    Attributes:
        data: Data set, as ``comdefend list data`` names it; its training split is used.
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


class RecipeInSteps(BaseRecipe, frozen=True, kw_only=True):
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


def check_zoom(zoom: float) -> None:
    """Raise InputError unless a factor by which crops are shrunk is at least 1."""
    if not 1 <= zoom <= MAX_ZOOM:
        raise InputError(f"zoom must be from 1 to {MAX_ZOOM}: {zoom}")


def check_share(recipe: BaseRecipe, *fields: str) -> None:
    """Raise InputError unless fields of a recipe are from 0 to 1."""
    for name in fields:
        if not 0 <= (value := getattr(recipe, name)) <= 1:
            raise InputError(f"{name} must be from 0 to 1: {value}")


def check_image_noise(stds: tuple[float, ...]) -> None:
    """Raise InputError unless standard deviations of noise on images in [0, 1] make sense."""
    if not all(0 < std <= 1 for std in stds):
        raise InputError(f"image_noise must be above 0 and at most 1: {stds}")
