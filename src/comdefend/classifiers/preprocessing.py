"""How images are prepared for a classifier."""

import msgspec


class Preprocessing(msgspec.Struct, frozen=True):
    """How a classifier's training images were prepared, where that is known.

    Attributes:
        source: Who says so, in a phrase.
        resize: The shorter side to which images are resized; 0 where it is not known.
        crop: Side of the central square that is then cut out, what the classifier takes; 0 where
            it is not known.
        mean, std: For each channel, what images in [0, 1] are normalised by; None where the
            classifier does so itself.
    """

    source: str
    resize: int
    crop: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
