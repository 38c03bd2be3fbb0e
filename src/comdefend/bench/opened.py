"""Opening jobs, so that they can be timed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from comdefend import zoo
from comdefend.bench.jobs import PRODUCT_SIDE, RESNET, Job, Shape
from comdefend.bench.photograph import open_photograph
from comdefend.classifiers import open_classifier
from comdefend.common.extras import require
from comdefend.common.processor import native_bf16
from comdefend.data.shipped import image_crops
from comdefend.defenses import load_defense
from comdefend.engines import open_engine, open_network
from comdefend.errors import InputError


def open_job(job: Job, channels: int, shape: Shape, threads: int) -> Callable[[], Any]:
    """Return a function that does a job once, on images of a shape.

    Raises:
        InputError: The engine or this machine does not support it.
        ExtraMissingError: A package that it needs is not installed.
    """
    if job.kind == "product":
        return _product(str(job.precision))
    images = image_crops(channels, *shape).float() / 255
    return _OPEN[job.kind](job, images, threads)


def load_classifier(name: str) -> nn.Module:
    """Return a classifier of `CLASSIFIERS`, in evaluation mode."""
    if name == RESNET:
        # Random weights: the speed does not depend on them.
        return require("torchvision.models", "evaluate").resnet50(weights=None).eval()
    return open_classifier(name)


def _purifier(job: Job, images: Tensor, threads: int) -> Callable[[], Any]:
    engine = open_engine(zoo.load(job.name), job.engine, str(job.precision), threads)
    return lambda: engine(images)


def _classifier(job: Job, images: Tensor, threads: int) -> Callable[[], Any]:
    network = load_classifier(job.name)
    compute = open_network(network, images, job.engine, str(job.precision), threads)
    return lambda: compute(images)


def _transform(job: Job, images: Tensor, threads: int) -> Callable[[], Any]:
    defense = _non_local_means() if job.name == "nl-means" else load_defense(job.name)
    return lambda: defense(images)


def _non_local_means() -> Callable[[Tensor], list[Any]]:
    """Return Buades' denoising (2005), fast variant, with the windows of scikit-image's example."""
    denoise = require("skimage.restoration", "evaluate").denoise_nl_means
    return lambda images: [
        denoise(image, patch_size=5, patch_distance=6, fast_mode=True, channel_axis=0)
        for image in images.numpy()
    ]


def _product(precision: str) -> Callable[[], Any]:
    side = PRODUCT_SIDE
    generator = torch.Generator().manual_seed(0)
    left, right = torch.rand(2, side, side, generator=generator)
    if precision == "int8":
        left, right = ((100 * matrix).to(torch.int8) for matrix in (left, right))
        return lambda: torch._int_mm(left, right)
    if precision == "bfloat16" and not native_bf16("cpu"):
        raise InputError("precision 'bfloat16': this processor lacks it")
    left, right = (matrix.to(getattr(torch, precision)) for matrix in (left, right))
    return lambda: left @ right


_OPEN: dict[str, Callable[[Job, Tensor, int], Callable[[], Any]]] = {
    "purifier": _purifier,
    "classifier": _classifier,
    "transform": _transform,
    "purify": open_photograph,
    "compress": open_photograph,
    "decompress": open_photograph,
}
