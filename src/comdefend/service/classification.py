"""What a classifier says to an image, before and after it is purified."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from comdefend.classifiers import ClassifierSpec, known_preprocessing, open_classifier
from comdefend.classifiers.names import checkpoint_class_names
from comdefend.data.classes import ClassNames, imagenet_names, read_class_names
from comdefend.data.image import Bytes, ReadImage
from comdefend.data.image_files import NEEDS_MEMORY
from comdefend.data.listing import Wanted
from comdefend.defenses.detection import movement
from comdefend.errors import (
    ExtraMissingError,
    ImageError,
    InputError,
    one_line,
    out_of_memory,
)
from comdefend.nn.device import device_of
from comdefend.nn.images import to_floats

_IMAGENET = 1000
_TOP = 5
# Before the middle is cut out, an image may be so many times larger than afterwards.
_GROWTH = 100


class Class(msgspec.Struct, frozen=True):
    """A class: its number among the classifier's outputs, its name, and its softmax in [0, 1]."""

    index: int
    label: str
    confidence: float


class Answer(msgspec.Struct, frozen=True):
    """What a classifier says.

    Attributes:
        classes: The most likely of the purified image, the first one first.
        unpurified: The most likely class of the image as it came.
        moved: Whether purifying changes the most likely class.
        detection_score: How far it moves the prediction, in [0, 2]: the L1 distance of the
            softmaxes. Attacks that purifying undoes move it far; who knows of it avoids that.
    """

    classes: tuple[Class, ...]
    unpurified: Class
    moved: bool
    detection_score: float


class Classification:
    """A classifier behind a purifier.

    Args:
        spec: The classifier.
        channels: Of the images that the purifier takes.
        device: Where to compute.
        resize: Shorter side to which images are resized, 0 to leave them; by default what the
            classifier takes, where that is known.
        crop: Side of the central square that is then cut out, 0 for none; by default the same.
        tell: As for `open_classifier`.

    Raises:
        InputError: A negative size, or as for `open_classifier`.
        DataMissingError, ExtraMissingError, WeightsError: As for `open_classifier`.
    """

    def __init__(
        self,
        spec: ClassifierSpec,
        channels: int,
        device: torch.device | str,
        resize: int | None = None,
        crop: int | None = None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        if min(resize or 0, crop or 0) < 0:
            raise InputError("resize and crop must not be negative")
        known = known_preprocessing(spec.name) if resize is None and crop is None else None
        usual = (known.resize, known.crop) if known and known.crop else None
        self._wanted = Wanted(resize=resize or 0, crop=crop or 0, usual=usual)
        self._channels = channels
        self._classifier: nn.Module = open_classifier(spec, tell).to(device)
        self._given = None if spec.classes is None else read_class_names(spec.classes)
        if self._given is None and spec.checkpoint is not None:
            self._given = checkpoint_class_names(Path(spec.checkpoint))
        self._names: dict[int, tuple[str, ...]] = {}

    def prepared(self, read: ReadImage, most_pixels: int) -> Bytes:
        """Return an image as the classifier takes it, (1, C, H, W) uint8.

        Raises:
            ImageError: A colour image where grey ones are taken; or one that is smaller than the
                crop, or larger than ``most_pixels``.
        """
        read.check(self._channels)
        wanted = self._wanted.settled([read.image.size])[0]
        # A strip of one pixel's width would be made larger than any memory.
        for size, most in (
            (wanted.fitted_size(*read.image.size), _GROWTH * most_pixels),
            (wanted.final_size(*read.image.size), most_pixels),
        ):
            if size[0] * size[1] > most:
                raise ImageError(
                    f"would be {size[0]}x{size[1]} pixels large before the classifier, more than "
                    f"{most:,}; start the server with --resize and --crop: what it takes"
                )
        try:
            fitted = wanted.fit(read.image.convert("L" if self._channels == 1 else "RGB"))
        except InputError as error:
            raise ImageError(str(error)) from error
        return ReadImage(fitted).pixels(self._channels)

    @torch.inference_mode()
    def __call__(self, purifier: Callable[[Tensor], Tensor], images: Bytes) -> list[Answer]:
        """Return the answer to each image, (N, C, H, W) uint8.

        Raises:
            ImageError: The classifier does not take images of this shape.
        """
        floats = to_floats(torch.from_numpy(images), device_of(self._classifier))
        before = self._logits(floats)
        after = self._logits(purifier(floats).to(floats.device))
        scores = movement(before, after).tolist()
        names = self._names_of(after.shape[1])
        top = after.softmax(1).topk(min(_TOP, after.shape[1]))
        first = before.softmax(1).max(1)
        found: list[Answer] = []
        for row, score in enumerate(scores):
            pairs = zip(top.indices[row].tolist(), top.values[row].tolist(), strict=True)
            classes = tuple(Class(index, names[index], share) for index, share in pairs)
            index = int(first.indices[row])
            unpurified = Class(index, names[index], float(first.values[row]))
            found.append(Answer(classes, unpurified, index != classes[0].index, score))
        return found

    def _logits(self, images: Tensor) -> Tensor:
        # A user's code may raise anything; wrong sizes are common.
        try:
            return self._classifier(images)
        except Exception as error:
            if out_of_memory(error):
                raise ImageError(NEEDS_MEMORY) from error
            raise ImageError(
                f"has {images.shape[1]}x{images.shape[2]}x{images.shape[3]} values, which the "
                f"classifier does not take ({one_line(error)}); start the server with --resize "
                "and --crop"
            ) from error

    def _names_of(self, count: int) -> tuple[str, ...]:
        """Return the names of so many classes; their numbers where nobody has named them."""
        if count not in self._names:
            names: ClassNames | None = self._given
            if names is None and count == _IMAGENET:
                with suppress(ExtraMissingError):
                    names = imagenet_names()
            if names is None or len(names) != count:
                self._names[count] = tuple(map(str, range(count)))
            else:
                self._names[count] = names.first
        return self._names[count]


def as_json(answer: Answer) -> bytes:
    """Return an answer as JSON."""
    return msgspec.json.encode(answer)
