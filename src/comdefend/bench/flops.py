"""Counting operations: two for each multiply-add."""

import copy
from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from comdefend import zoo
from comdefend.bench.jobs import PRODUCT_SIDE, Job, Shape
from comdefend.bench.opened import load_classifier
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend


@cache
def job_flop(job: Job, channels: int, shape: Shape) -> int | None:
    """Return the operations of a job on images of a shape; None where they are not countable."""
    if job.kind == "product":
        return 2 * PRODUCT_SIDE**3
    if job.kind == "purifier":
        return purifier_flop(zoo.load(job.name).config, *shape)
    if job.kind == "classifier":
        count, height, width = shape
        return network_flop(load_classifier(job.name), (count, channels, height, width))
    return None


def network_flop(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the operations of a network's convolutions and matrix products.

    Nothing is computed: the network runs on shapes alone.

    Args:
        network: One tensor to one tensor.
        shape: Of its input.
    """
    with FlopCounterMode(display=False) as counter:
        copy.deepcopy(network).to("meta")(torch.empty(shape, device="meta"))
    return counter.get_total_flops()


def purifier_flop(config: PurifierConfig, count: int, height: int, width: int) -> int:
    """Return the operations of a purifier's convolutions on (N, C, H, W) images.

    Sizes that the code's blocks do not divide are rounded up, as the purifier does.
    """
    sides = [config.code_side(side) for side in (height, width)]
    with torch.device("meta"):
        purifier = ComDefend(config)
    images = (count, config.channels, *(config.downscale * side for side in sides))
    code = (count, config.code_maps, *sides)
    return network_flop(purifier.encoder, images) + network_flop(purifier.decoder, code)
