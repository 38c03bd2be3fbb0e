"""Purifiers and defended classifiers as files for programs without comdefend."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.export import Dim

from comdefend import zoo
from comdefend._version import __version__
from comdefend.classifiers import (
    ClassifierSpec,
    as_spec,
    known_preprocessing,
    open_classifier,
)
from comdefend.common.atomic import atomic_write, make_folder
from comdefend.common.defaults import RECOMMENDED
from comdefend.common.extras import require_extra
from comdefend.common.provenance import commit
from comdefend.common.schema import to_plain
from comdefend.defenses import DefendedClassifier
from comdefend.engines.formats import SAVE, Saved
from comdefend.engines.graphs import convolution_dims, trace
from comdefend.errors import EngineError, InputError
from comdefend.nn.batches import fingerprint
from comdefend.nn.purifier import ComDefend

SUFFIXES = tuple(SAVE)
"""ONNX, OpenVINO IR (with a ``.bin`` beside it), a torch.export program."""

INPUTS = ("float", "uint8")

# Part -> names of its input and output.
_PARTS = {
    "purifier": ("images", "purified"),
    "encoder": ("images", "code"),
    "decoder": ("code", "purified"),
}
_DEFENDED = ("images", "logits")
# The value of 1.0 as a byte.
_BYTES = {"images": 255, "purified": 255, "code": 1}

MAX_ERROR = 1e-4
"""Power of the difference between file and network, as a share of the output's power. Allows for
one bit in ten thousand, with a logit near 0, that rounding flips."""


class Export(msgspec.Struct, frozen=True):
    """An exported file.

    Attributes:
        path: The file.
        takes, gives: Names of its input and output.
        error: Power of the difference between file and network on real images, as a share of the
            output's power.
        metadata: What the file says about itself.
    """

    path: Path
    takes: str
    gives: str
    error: float
    metadata: dict[str, Any]


def export(
    output: Path,
    images: Tensor,
    weights: str = RECOMMENDED,
    part: str = "purifier",
    classifier: ClassifierSpec | str | None = None,
    input: str = "float",
    size: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Export:
    """Write a network as a file that other programs run, for any batch, height and width.

    If the purifier works on blocks of d pixels, d above 1, the sides of images must be longer than
    d pixels; a classifier may need more.

    The file is compared with the network before it is written, and not written if it differs.

    Args:
        output: Ends in one of `SUFFIXES`.
        images: (N, C, H, W) uint8, N at least 6: real images to compare on, grey or RGB.
        weights: A purifier, as `comdefend.load` names it.
        part: ``purifier``, ``encoder`` (images to code) or ``decoder`` (code to images; their sides
            are multiples of ``config.multiple``).
        classifier: A classifier behind the purifier, as `open_classifier` opens it: the file then
            takes images and returns logits.
        input: ``float``: images in [0, 1] and a code of 0 and 1, in float32. ``uint8``: images in
            0 to 255 and a code of 0 and 1, as bytes; logits remain float32.
        size: Side of the images to compare on. By default what the classifier is known to take;
            where that is not known, and without a classifier, images of two sizes.
        tell: As for `open_classifier`.

    Raises:
        InputError: An unknown suffix, weights, part, classifier or input, a part of a defended
            classifier, or a classifier that torch cannot export.
        ExtraMissingError: The ``runtime`` extra is not installed.
        EngineError: The file does not compute what the network computes.
        OutputError: It cannot be written.
        DataMissingError, WeightsError: As for `comdefend.load` and `open_classifier`.
    """
    spec = None if classifier is None else as_spec(classifier)
    _check_choices(output, part, spec, input)
    purifier = zoo.load(weights).requires_grad_(False)
    metadata = {
        "comdefend": __version__,
        "commit": commit(),
        "weights": Path(weights).name,
        "sha256": zoo.checksum(weights),
        "config": to_plain(purifier.config),
        "part": part,
        "input": input,
    }
    takes, gives = _PARTS[part] if spec is None else _DEFENDED
    network: nn.Module = _Part(purifier, part)
    if spec is not None:
        behind = open_classifier(spec, tell).requires_grad_(False)
        metadata |= {"classifier": spec.name, "classifier_fingerprint": fingerprint(behind)}
        size = size or _known_size(spec.name)
        network = DefendedClassifier(purifier, behind)
    dims = convolution_dims()
    if spec is not None or purifier.config.multiple > 1:
        # torch finds out what pooling and padding demand of the size.
        dims |= {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    network = network if input == "float" else _OnBytes(network, takes, gives)
    make_folder(output.parent)
    examples = _examples(purifier, images, takes, input, size)
    try:
        with torch.no_grad():
            expected = [network.eval()(example) for example in examples]
        program = trace(network, examples[0], dims)
        saved = SAVE[output.suffix](program, takes, gives, json.dumps(metadata))
    except (RuntimeError, ValueError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{spec.name if spec else weights}: cannot be exported ({reason})"
        ) from error
    difference = _write(output, saved, examples, expected)
    return Export(output, takes, gives, difference, metadata)


def _write(output: Path, saved: Saved, examples: list[Tensor], expected: list[Tensor]) -> float:
    """Write the files if they compute what is expected; return the difference."""
    difference = max(
        _difference(saved.run(example.numpy()), reference.numpy())
        for example, reference in zip(examples, expected, strict=True)
    )
    if not difference <= MAX_ERROR:
        raise EngineError(
            f"{output}: not written, since it differs from the network by {difference:.2g} of the "
            f"output's power, more than {MAX_ERROR:g}"
        )
    for suffix, data in saved.files.items():
        atomic_write(output.with_suffix(suffix), data)
    return difference


class _Part(nn.Module):
    """A purifier, or one half of it."""

    def __init__(self, purifier: ComDefend, part: str) -> None:
        super().__init__()
        self.purifier = purifier
        self.part = part

    def forward(self, values: Tensor) -> Tensor:
        if self.part == "encoder":
            return self.purifier.encode(values)
        if self.part == "decoder":
            return self.purifier.decode(values)
        return self.purifier(values)


class _OnBytes(nn.Module):
    """A network that takes bytes, and returns bytes unless it returns logits."""

    def __init__(self, network: nn.Module, takes: str, gives: str) -> None:
        super().__init__()
        self.network = network
        self.takes, self.gives = takes, gives

    def forward(self, values: Tensor) -> Tensor:
        output = self.network(values.float() / _BYTES[self.takes])
        if self.gives not in _BYTES:
            return output
        return (output * _BYTES[self.gives]).round().to(torch.uint8)


def _known_size(classifier: str) -> int | None:
    known = known_preprocessing(classifier)
    return None if known is None else known.crop or None


def _check_choices(output: Path, part: str, classifier: ClassifierSpec | None, input: str) -> None:
    if output.suffix not in SUFFIXES:
        raise InputError(f"{output}: must end in {', '.join(SUFFIXES)}")
    if part not in _PARTS:
        raise InputError(f"part must be one of {', '.join(_PARTS)}, not '{part}'")
    if classifier is not None and part != "purifier":
        raise InputError(f"a classifier needs the whole purifier; leave part '{part}' out")
    if input not in INPUTS:
        raise InputError(f"input must be {' or '.join(INPUTS)}, not '{input}'")
    if output.suffix != ".pt2":
        require_extra("runtime")


@torch.no_grad()
def _examples(
    purifier: ComDefend, images: Tensor, takes: str, input: str, size: int | None
) -> list[Tensor]:
    """Return two inputs of different batch, made of real images side by side.

    They differ in size too, unless a size is given.
    """
    real = images.float() / 255
    if real.shape[1] != purifier.config.channels:
        # Tinted, so that swapped channels make a difference.
        tint = torch.linspace(1, 0.6, purifier.config.channels).view(1, -1, 1, 1)
        real = real.mean(1, keepdim=True) * tint
    if size is None:
        pairs = _grids(real[:6], 2, 1, 3), _grids(real[:6], 1, 2, 3)
    else:
        down, across = (math.ceil(size / side) for side in real.shape[-2:])
        grids = _grids(real, 3, down, across)[..., :size, :size]
        pairs = grids[:2], grids[2:]
    # Copies, since a graph would make demands on the larger tensor behind a view.
    values = [purifier.encode(p) if takes == "code" else p.clone() for p in pairs]
    if input == "float":
        return values
    return [(v * _BYTES[takes]).round().to(torch.uint8) for v in values]


def _grids(images: Tensor, count: int, down: int, across: int) -> Tensor:
    """Return grids of images in rows and columns: (N, C, H, W) -> (count, C, down H, across W)."""
    chosen = torch.arange(count * down * across) % len(images)
    grids = images[chosen].unflatten(0, (count, down, across))
    return grids.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def _difference(output: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    if output.shape != expected.shape or output.dtype != expected.dtype:
        return math.inf
    reference = expected.astype(np.float64)
    return float(np.square(output - reference).mean() / np.square(reference).mean())
