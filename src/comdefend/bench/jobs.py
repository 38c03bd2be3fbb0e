"""What is timed, as data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from comdefend.common.defaults import RECOMMENDED
from comdefend.common.processor import WHOLE_FILTERS, filter_bits
from comdefend.errors import InputError

Shape = tuple[int, int, int]
"""N, H and W of a batch of images."""

PHOTO: Shape = (1, 224, 224)
SHAPES: tuple[Shape, ...] = ((64, 32, 32), PHOTO, (1, 1024, 1024))
SWEEP: tuple[Shape, ...] = (
    (1, 32, 32), (4, 32, 32), (16, 32, 32), (1, 64, 64), (1, 128, 128), (1, 512, 512),
)  # fmt: skip
"""Shapes between those, for the figures."""
LARGE: Shape = (1, 3000, 4000)
"""A photograph of 12 megapixels: too large for one piece, so `PHOTOGRAPHS` alone do it."""

WEIGHTS = ("photo", "photo-guided", "rgb-variable@2", "rgb-12bpp-lite", "rgb-12bpp")
"""What is timed unless a user names others: what is recommended, and the paper's network."""

PRECISIONS = ("float32", "bfloat16", "int8")
BASELINE = ("torch", "float32")
RESNET = "resnet50"

Kind = Literal["purifier", "classifier", "transform", "product", "purify", "compress", "decompress"]

_WAYS: tuple[Kind, ...] = ("compress", "decompress")


class Job(msgspec.Struct, frozen=True):
    """Something to time.

    Attributes:
        kind: ``purifier``; ``classifier``; ``transform``, a defence without weights;
            ``product``, a matrix product, whose speed is the peak that others are compared to; or
            what becomes of a photograph: ``purify``, in tiles, ``compress`` to a file, or
            ``decompress`` that file.
        name: Weights, classifier, defence or format.
        engine: One of `comdefend.engines.ENGINES`, ``auto``, or the library that computes.
        precision: None where the job has no choice.
    """

    kind: Kind
    name: str
    engine: str
    precision: str | None


def job_title(kind: Kind, name: str) -> str:
    """Return the name of a job, with what is done where there are several of one name."""
    return f"{name}, {kind}" if kind in ("purify", *_WAYS) else name


PRODUCT_SIDE = 2048
"""Rows and columns: enough to reach the peak, few enough for a tenth of a second."""

PRODUCTS = tuple(Job("product", "matrix product", "torch", p) for p in PRECISIONS)

TRANSFORMS = (
    Job("transform", "jpeg:75", "Pillow", None),
    Job("transform", "webp:75", "Pillow", None),
    Job("transform", "median:3", "torch", None),
    Job("transform", "tv:0.1", "scikit-image", None),
    Job("transform", "nl-means", "scikit-image", None),
)

CLASSIFIERS = tuple(
    Job("classifier", name, engine, precision)
    for name in ("efficientnet-lite0", RESNET)
    for engine in ("torch", "openvino")
    for precision in ("float32", "bfloat16")
)

_FORMATS = ("JPEG", "WebP", "AVIF")

PHOTOGRAPHS = (
    Job("purify", RECOMMENDED, "auto", None),
    *(
        Job(kind, name, engine, None)
        for name, engine in ((RECOMMENDED, "auto"), *((f, "Pillow") for f in _FORMATS))
        for kind in _WAYS
    ),
)


def purifier_jobs(weights: Sequence[str]) -> list[Job]:
    """Return every engine in every precision; opening some of them will fail, with a reason."""
    # Imports torch, which refusing a bad shape does not need.
    from comdefend.engines import ENGINES

    return [
        Job("purifier", name, engine, precision)
        for name in weights
        for engine in ENGINES
        for precision in PRECISIONS
    ]


def check_job(job: Job) -> None:
    """Refuse what this machine cannot compute, before a process is started for it.

    Raises:
        InputError: It lacks the precision, or there is no calibration for it.
    """
    from comdefend import zoo
    from comdefend.engines.arrays import choice_for
    from comdefend.engines.choice import choose

    if job.kind == "purifier":
        choice_for(zoo.load_arrays(job.name), job.engine, str(job.precision))
    elif job.kind == "classifier":
        choose(job.engine, str(job.precision), "cpu", calibrated=False)
    elif job.precision == "int8" and filter_bits() != WHOLE_FILTERS:
        # PyTorch multiplies such matrices without vector units here, so that is no peak.
        raise InputError("precision 'int8': this processor has no product of whole bytes")


def quick_jobs(weights: Sequence[str]) -> list[Job]:
    """Return what ``auto`` takes for each, the same in float32, and what to compare with.

    Raises:
        InputError, DataMissingError, WeightsError: As for `comdefend.load`.
    """
    from comdefend import zoo
    from comdefend.engines.arrays import choice_for

    chosen = {name: choice_for(zoo.load_arrays(name)) for name in weights}
    found = [Job("purifier", name, auto.name, auto.precision) for name, auto in chosen.items()]
    found += [Job("purifier", name, auto.name, "float32") for name, auto in chosen.items()]
    found += [Job("purifier", weights[0], *BASELINE), *TRANSFORMS[:3]]
    engines = {job.engine for job in found}
    found += [job for job in CLASSIFIERS if job.engine in engines - {"torch"}]
    return list(dict.fromkeys(found))


def check_arguments(output: Path, rounds: int, threads: int | None) -> None:
    """Check what can be checked without torch.

    Raises:
        InputError: The output is a file, or there is no round or thread.
    """
    for name, value in (("rounds", rounds), ("threads", 1 if threads is None else threads)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, not {value}")
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: a file; the output is a folder")


def parse_shape(text: str) -> Shape:
    """Return the shape that ``NxHxW`` stands for.

    Raises:
        InputError: The text is not of this form, or a number is not from 1 to 4096.
    """
    parts = text.split("x")
    if len(parts) != 3 or not all(p.isdecimal() and 1 <= int(p) <= 4096 for p in parts):
        raise InputError(f"shape must be NxHxW, as 64x32x32, numbers from 1 to 4096, not '{text}'")
    count, height, width = map(int, parts)
    return count, height, width
