"""Defences by name, as experiments and the command line write them."""

from collections.abc import Callable

from torch import nn

from comdefend.defenses.pixeldefend import PixelDefend
from comdefend.defenses.randomized import dithered, random_rate
from comdefend.defenses.transforms import (
    JPEG,
    BitDepth,
    GaussianNoise,
    MedianSmoothing,
    ResizePad,
    TotalVariation,
)
from comdefend.errors import InputError
from comdefend.nn.pixelcnn import PixelCNN
from comdefend.weights import zoo

DEFENSES: dict[str, str] = {
    "none": "no defence: the classifier alone",
    "WEIGHTS": "ComDefend with shipped weights, by name; a .safetensors file that training made: "
    "ComDefend, HGD or PixelDefend",
    "WEIGHTS@BPP": "ComDefend at fewer bits a pixel, for weights that work at several",
    "jpeg:QUALITY": "JPEG coding, quality 1 to 95",
    "jpeg:QUALITY+OFFSET": "the same, with the grid of blocks shifted by 1 to 15 pixels",
    "bits:BITS": "rounding to 2^BITS values, BITS 1 to 8",
    "median:SIZE": "median of a window of SIZE x SIZE pixels, SIZE odd",
    "tv:WEIGHT": "total variation minimisation, WEIGHT above 0",
    "noise:STD": "normal noise, STD above 0 and at most 1; random",
    "dither:STD:WEIGHTS": "ComDefend with normal noise before the threshold; random",
    "random-rate:WEIGHTS": "ComDefend at a rate drawn for every image; random",
    "A|B": "one after the other, for example noise:0.05|rgb-12bpp",
    "resize-pad": "resizing to a random size, padding at a random position; random",
}
"""The forms of a defence's name -> what it is, in a phrase."""


def _jpeg(argument: str) -> JPEG:
    quality, plus, offset = argument.partition("+")
    return JPEG(int(quality), int(offset) if plus else 0)


def _dithered(argument: str) -> nn.Module:
    std, _, weights = argument.partition(":")
    return dithered(zoo.load(weights), float(std))


_WITH_ARGUMENT: dict[str, Callable[[str], nn.Module]] = {
    "jpeg": _jpeg,
    "bits": lambda argument: BitDepth(int(argument)),
    "median": lambda argument: MedianSmoothing(int(argument)),
    "tv": lambda argument: TotalVariation(float(argument)),
    "noise": lambda argument: GaussianNoise(float(argument)),
    "dither": _dithered,
    "random-rate": lambda argument: random_rate(zoo.load(argument)),
}


def load_defense(spec: str) -> nn.Module:
    """Return a defence in evaluation mode: images (N, C, H, W) in [0, 1] -> the same.

    Args:
        spec: One of the forms in `DEFENSES`, for example ``rgb-12bpp``, ``jpeg:75``,
            ``jpeg:75+5``, ``bits:3``, ``median:3``, ``tv:0.1``, ``noise:0.05``.

    Raises:
        InputError: Unknown, or a parameter is out of its range.
        DataMissingError: The weight file does not exist.
        ExtraMissingError: It needs the ``evaluate`` extra, which is not installed.
        WeightsError: The weight file is corrupt, or holds something else than a purifier.
    """
    if "|" in spec:
        return nn.Sequential(*map(load_defense, spec.split("|"))).eval()
    if spec == "none":
        return nn.Identity().eval()
    if spec == "resize-pad":
        return ResizePad()
    name, _, argument = spec.partition(":")
    weights = spec.partition("@")[0]
    if name not in _WITH_ARGUMENT and (weights in zoo.weights() or ".safetensors" in spec):
        found = zoo.load_purifying(spec)
        return PixelDefend(found) if isinstance(found, PixelCNN) else found
    if name not in _WITH_ARGUMENT:
        raise _unknown(spec)
    try:
        return _WITH_ARGUMENT[name](argument)
    except InputError as error:
        raise InputError(f"{spec}: {error}") from error
    except ValueError as error:
        raise _unknown(spec) from error


def _unknown(spec: str) -> InputError:
    known = ", ".join(
        f"{form} ({', '.join(zoo.weights())}, or a .safetensors file)"
        if form == "WEIGHTS"
        else form
        for form in DEFENSES
    )
    return InputError(f"unknown defence '{spec}'; known: {known}")
