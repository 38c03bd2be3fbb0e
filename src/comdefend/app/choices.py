"""What a person can choose on the page, and how each choice is opened."""

from dataclasses import dataclass
from functools import cache

from torch import nn

from comdefend import zoo
from comdefend.attacks import ATTACKS
from comdefend.classifiers import known_preprocessing, open_classifier
from comdefend.common.defaults import RECOMMENDED
from comdefend.data.classes import imagenet_names
from comdefend.data.listing import Wanted
from comdefend.data.places import DATASETS
from comdefend.errors import InputError
from comdefend.nn.purifier import ComDefend

CLASSIFIERS: dict[str, str] = {
    "efficientnet-lite0": "EfficientNet-Lite0, ImageNet",
    "efficientnet-lite1": "EfficientNet-Lite1, ImageNet",
    "cifar10-small": "CIFAR-10, small",
    "cifar10-adversarial": "CIFAR-10, against attacks",
}
"""Classifiers of colour images that come with their weights -> what the page calls them."""

PURIFIERS: dict[str, str] = {
    RECOMMENDED: "photo (recommended)",
    "photo-clean": "photo-clean (four rates)",
    "rgb-variable": "rgb-variable (six rates)",
    "rgb-12bpp": "rgb-12bpp (as published; slow)",
}
"""Purifiers of colour images -> what the page calls them."""

OFFERED_ATTACKS: dict[str, str] = {
    name: ATTACKS[name].title for name in ("fgsm", "bim", "pgd", "mi-fgsm")
}
"""Attacks within a bound that take a few gradients -> what the page calls them."""

STEPS = 10
"""Of the attacks that have steps."""

USUAL_RATE = 2.0
"""The page begins with the rate nearest to it."""

MAX_EPS = 32


@dataclass(frozen=True)
class Chosen:
    """What is done to a photograph.

    Attributes:
        classifier, purifier, attack: Names in the tables above.
        bpp: Bits per pixel, one of `rates`.
        eps: Bound of the attack, in units of 1/255, from 1 to `MAX_EPS`.

    Raises:
        InputError: A name is not in its table, or another value is out of its range.
    """

    classifier: str
    purifier: str
    bpp: float
    attack: str
    eps: float

    def __post_init__(self) -> None:
        for kind, known in (
            ("classifier", CLASSIFIERS),
            ("purifier", PURIFIERS),
            ("attack", OFFERED_ATTACKS),
        ):
            if (name := getattr(self, kind)) not in known:
                raise InputError(f"unknown {kind} '{name}'; known: {', '.join(known)}")
        if self.bpp not in (known_rates := rates(self.purifier)):
            has = ", ".join(f"{bpp:g}" for bpp in known_rates)
            raise InputError(f"{self.purifier} has {has} bits per pixel, not {self.bpp:g}")
        if not 1 <= self.eps <= MAX_EPS:
            raise InputError(f"eps must be from 1 to {MAX_EPS}, not {self.eps:g}")


@dataclass(frozen=True)
class Opened:
    """A classifier as the page uses it.

    Attributes:
        network: Images in [0, 1] to logits; its weights take no gradients.
        classes: The names of its classes.
        wanted: How images are prepared for it.
    """

    network: nn.Module
    classes: tuple[str, ...]
    wanted: Wanted


@cache
def opened_classifier(name: str) -> Opened:
    """Open a classifier, once."""
    known = known_preprocessing(name)
    network = open_classifier(name).requires_grad_(False)
    if known is None:
        classes, side = DATASETS["cifar10"].classes, 32
        return Opened(network, classes, Wanted(channels=3, resize=side, crop=side))
    # The first of each class's names: the others are for finding it.
    classes = tuple(name.partition(",")[0] for name in imagenet_names().first)
    return Opened(network, classes, Wanted(channels=3, resize=known.resize, crop=known.crop))


@cache
def opened_purifier(name: str, bpp: float) -> ComDefend:
    """Open a purifier at a rate, once.

    Raises:
        InputError: The weights do not have the rate.
    """
    return zoo.load(name).at(bpp).requires_grad_(False)


@cache
def rates(purifier: str) -> tuple[float, ...]:
    """Return the bits per pixel at which a purifier works, from the lowest."""
    return zoo.load(purifier).config.bpps
