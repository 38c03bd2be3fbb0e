from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from comdefend.bench import flops
from comdefend.bench.jobs import CLASSIFIERS, PRODUCTS
from comdefend.nn.config import GRAY_4BPP, RGB_12BPP, PurifierConfig
from comdefend.nn.purifier import ComDefend

DOWNSCALED = PurifierConfig(encoder_widths=(8,), decoder_widths=(8,), code_maps=6, downscale=2)
REDUCED = PurifierConfig(encoder_widths=(8, 8), decoder_widths=(8,), reduction=2)


@pytest.mark.parametrize("config", [RGB_12BPP, GRAY_4BPP, DOWNSCALED, REDUCED])
def test_operations_are_those_of_the_convolutions(config):
    layers = [*pairwise(config.encoder_channels), *pairwise(config.decoder_channels)]
    for count, height, width in ((1, 12, 16), (3, 7, 9)):
        d = config.multiple
        positions = count * -(-height // d) * -(-width // d)
        wanted = 2 * positions * sum(9 * inputs * outputs for inputs, outputs in layers)
        assert flops.purifier_flop(config, count, height, width) == wanted
        with FlopCounterMode(display=False) as counter:
            ComDefend(config).eval()(torch.rand(count, config.channels, height, width))
        assert counter.get_total_flops() == wanted


def test_operations_of_known_networks():
    # 1.57 million multiply-adds per pixel, and the 4.09 billion of ResNet-50.
    assert flops.purifier_flop(RGB_12BPP, 1, 1, 1) == pytest.approx(2 * 1.57e6, rel=0.005)
    resnet = next(job for job in CLASSIFIERS if job.name == "resnet50")
    assert flops.job_flop(resnet, 3, (1, 224, 224)) == pytest.approx(2 * 4.09e9, rel=0.005)
    assert flops.job_flop(PRODUCTS[0], 1, (1, 1, 1)) == 2 * 2048**3
