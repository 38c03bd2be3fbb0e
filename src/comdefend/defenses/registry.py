"""All defences by name, as experiments and the command line write them."""

from collections.abc import Callable

import msgspec
from torch import nn

from comdefend import zoo
from comdefend.common.user_code import is_user_spec, load_module
from comdefend.defenses.bit_depth import BitDepth
from comdefend.defenses.codec import JPEG, WebP
from comdefend.defenses.median import MedianSmoothing
from comdefend.defenses.noise import GaussianNoise
from comdefend.defenses.pixeldefend import PixelDefend
from comdefend.defenses.randomized import dithered, random_rate
from comdefend.defenses.resize_pad import ResizePad
from comdefend.defenses.total_variation import TotalVariation
from comdefend.errors import InputError
from comdefend.nn.pixelcnn import PixelCNN


class Form(msgspec.Struct, frozen=True):
    """How a defence is named, and how it is opened.

    Attributes:
        name: The word before the colon, or all of it where the form has no colon.
        spellings: Form, as help texts show it -> what it is, in a phrase.
        open: Given the text behind the colon, returns the defence. A ValueError means that the
            text does not fit the form.
    """

    name: str
    spellings: dict[str, str]
    open: Callable[[str], nn.Module]


def _jpeg(argument: str) -> JPEG:
    quality, plus, offset = argument.partition("+")
    return JPEG(int(quality), int(offset) if plus else 0)


def _dithered(argument: str) -> nn.Module:
    std, _, weights = argument.partition(":")
    return dithered(zoo.load(weights), float(std))


FORMS = (
    Form("none", {"none": "no defence: the classifier alone"}, lambda _: nn.Identity()),
    Form(
        "jpeg",
        {
            "jpeg:QUALITY": "JPEG coding, quality 1 to 95",
            "jpeg:QUALITY+OFFSET": "the same, with the grid of blocks shifted by 1 to 15 pixels",
        },
        _jpeg,
    ),
    Form(
        "webp",
        {"webp:QUALITY": "lossy WebP coding, quality 0 to 100"},
        lambda argument: WebP(int(argument)),
    ),
    Form(
        "bits",
        {"bits:BITS": "rounding to 2^BITS values, BITS 1 to 8"},
        lambda argument: BitDepth(int(argument)),
    ),
    Form(
        "median",
        {"median:SIZE": "median of a window of SIZE x SIZE pixels, SIZE odd"},
        lambda argument: MedianSmoothing(int(argument)),
    ),
    Form(
        "tv",
        {"tv:WEIGHT": "total variation minimisation, WEIGHT above 0"},
        lambda argument: TotalVariation(float(argument)),
    ),
    Form(
        "noise",
        {"noise:STD": "normal noise, STD above 0 and at most 1; random"},
        lambda argument: GaussianNoise(float(argument)),
    ),
    Form(
        "resize-pad",
        {"resize-pad": "resizing to a random size, padding at a random position; random"},
        lambda _: ResizePad(),
    ),
    Form(
        "dither",
        {"dither:STD:WEIGHTS": "ComDefend with normal noise before the threshold; random"},
        _dithered,
    ),
    Form(
        "random-rate",
        {"random-rate:WEIGHTS": "ComDefend at a rate drawn for every image; random"},
        lambda argument: random_rate(zoo.load(argument)),
    ),
)
"""All defences with a name of their own; a new one is a new row."""

_BY_NAME = {form.name: form for form in FORMS}

DEFENSES: dict[str, str] = {
    "WEIGHTS": "ComDefend with shipped weights, by name; or a .safetensors file made by training: "
    "ComDefend, HGD or PixelDefend",
    "WEIGHTS@BPP": "ComDefend at fewer bits per pixel, for weights with several rates",
    **{form: about for entry in FORMS for form, about in entry.spellings.items()},
    "A|B": "one after the other, for example noise:0.05|rgb-12bpp",
    "package.module:function": "your own: an nn.Module, images to images, or a function that "
    "returns one",
}
"""The forms of a defence's name -> what it is, in a phrase."""


def load_defense(spec: str) -> nn.Module:
    """Return a defence in evaluation mode: images (N, C, H, W) in [0, 1] -> the same.

    Args:
        spec: One of the forms in `DEFENSES`, for example ``rgb-12bpp``, ``jpeg:75``,
            ``jpeg:75+5``, ``bits:3``, ``median:3``, ``tv:0.1``, ``noise:0.05``. A user's own code
            is imported, and run, from the current directory too.

    Raises:
        InputError: Unknown, a parameter is out of its range, or the user's code fails.
        InputTypeError: The user's function returns no ``nn.Module``.
        DataMissingError: The weight file does not exist.
        ExtraMissingError: It needs the ``evaluate`` extra, which is not installed.
        WeightsError: The weight file is corrupt, or holds something else than a purifier.
    """
    if "|" in spec:
        return nn.Sequential(*map(load_defense, spec.split("|"))).eval()
    name, colon, argument = spec.partition(":")
    if name in _BY_NAME:
        return _open(spec, _BY_NAME[name], bool(colon), argument).eval()
    if spec.partition("@")[0] in zoo.weights() or ".safetensors" in spec:
        purifying = zoo.load_purifying(spec)
        return PixelDefend(purifying) if isinstance(purifying, PixelCNN) else purifying
    if is_user_spec(spec):
        return load_module(spec).eval()
    raise _unknown(spec)


def _open(spec: str, form: Form, has_argument: bool, argument: str) -> nn.Module:
    if has_argument != any(":" in spelling for spelling in form.spellings):
        raise _unknown(spec)
    try:
        return form.open(argument)
    except InputError as error:
        raise InputError(f"{spec}: {error}") from error
    except ValueError as error:
        raise _unknown(spec) from error


def _unknown(spec: str) -> InputError:
    shipped = f"WEIGHTS ({', '.join(zoo.weights())}, or a .safetensors file)"
    known = ", ".join([shipped, *list(DEFENSES)[1:]])
    return InputError(f"unknown defence '{spec}'; known: {known}")
