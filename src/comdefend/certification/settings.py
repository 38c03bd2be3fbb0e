"""What is certified, on what, with how many draws: checked without torch."""

import msgspec

from comdefend.common.schema import check_not_negative
from comdefend.errors import InputError

MAX_SEED = 2**32
SELECTION_DRAWS = 100
"""n0: draws of noise that guess the answer (Cohen et al. 2019, Section 4)."""
ALPHA = 0.001
"""The probability with which a certificate may be wrong, for each image (the same)."""
DRAWS = 1000
"""n, unless something else is asked for."""
ATTACKED = 20
"""Images that are attacked too, unless something else is asked for."""

_MOST_SIGMA, _DRAWS = 1.0, (100, 10_000_000)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is certified.

    Attributes:
        data: Data set, as `load_image_set` names it; its test split is used.
        classifier: As `open_classifier` names it.
        defense: The purifier in front of it, as `load_defense` names it.
        sigma: Standard deviation of the noise, for images in [0, 1]: above 0, at most 1.
        n: Draws of noise that the bound stands on.
        n0: Draws before those, that guess the answer.
        alpha: With this probability at most the certificate of an image is wrong.
        images: Size of the sample; 0 for all images.
        attacked: So many of them, the first, are attacked too; 0 for none.
        engine, precision: What computes the purifier, as `open_engine` takes it.
        checkpoint, mean, std, classes: Of the classifier, as `ClassifierSpec` has them.
        resize: The shorter side to resize images to; 0 leaves them.
        crop: The side of the square that is then cut out; 0 leaves the images.
        fit: Where the classifier is known to take images of one size, give it those.
        skip_unreadable: Leave out image files that cannot be read.
        seed: Of the sample, the noise and the attacks.

    Raises:
        InputError: A field is out of its range.
    """

    data: str
    classifier: str
    defense: str
    sigma: float
    n: int = DRAWS
    n0: int = SELECTION_DRAWS
    alpha: float = ALPHA
    images: int = 100
    attacked: int = ATTACKED
    engine: str = "auto"
    precision: str = "float32"
    checkpoint: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: str | tuple[str, ...] | None = None
    resize: int = 0
    crop: int = 0
    fit: bool = False
    skip_unreadable: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= _MOST_SIGMA:
            hint = (
                f"; for {self.sigma:g}/255 write {self.sigma / 255:.3g}" if self.sigma > 1 else ""
            )
            raise InputError(
                f"sigma is for images in [0, 1], above 0 and at most {_MOST_SIGMA:g}, "
                f"not {self.sigma:g}{hint}"
            )
        least, most = _DRAWS
        if not least <= self.n <= most:
            raise InputError(f"n must be from {least} to {most:,} draws, not {self.n}")
        check_not_negative(self, "images", "attacked", "resize", "crop")
        if not 0 <= self.seed < MAX_SEED:
            raise InputError(f"seed must be from 0 to {MAX_SEED - 1}: {self.seed}")
        if (self.mean is None) != (self.std is None):
            raise InputError("mean and std: give both or neither")
