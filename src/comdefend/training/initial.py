"""Networks before their training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from msgspec.structs import replace
from torch import nn

from comdefend.data.image_set import ImageSet
from comdefend.nn.classifier import ClassifierConfig, SmallClassifier
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend

# Gain of the orthogonal filters: above 1, since an ELU shrinks negative values.
_GAIN = 1.2
# Scale of the first logits over phi. Logits have to rise above the noise, and growing them from
# nothing would cost steps.
_LOGIT_GAIN = 0.5
# Scale of the first values over the range that their bits tell apart.
_RANGE_GAIN = 0.125
# Enough images to estimate a mean and a standard deviation.
_STATISTICS_IMAGES = 5000


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator, and restore it afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def new_purifier(config: PurifierConfig, seed: int) -> ComDefend:
    """Return a purifier with orthogonal filters, zero biases and logits on the noise's scale."""
    with seeded(seed):
        purifier = ComDefend(config)
        convolutions = [m for m in purifier.modules() if isinstance(m, nn.Conv2d)]
        for convolution in convolutions:
            nn.init.orthogonal_(convolution.weight, _GAIN)
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)
    scale = max(_LOGIT_GAIN * config.phi, _RANGE_GAIN * 2**config.value_bits, 1.0)
    logit_layer(purifier).weight.mul_(scale)
    return purifier


def logit_layer(purifier: ComDefend) -> nn.Conv2d:
    """Return the encoder's last convolution, which makes the logits."""
    *_, last = (m for m in purifier.encoder.modules() if isinstance(m, nn.Conv2d))
    return last


def filter_groups(purifier: ComDefend, logit_rate: float) -> list[dict[str, Any]]:
    """Return a purifier's filters for an optimiser; the one that makes the logits stands apart.

    Args:
        purifier: The network.
        logit_rate: Learning rate of that filter.
    """
    logit_filter = logit_layer(purifier).weight
    filters = [p for p in purifier.parameters() if p.ndim == 4 and p is not logit_filter]
    return [{"params": filters}, {"params": [logit_filter], "lr": logit_rate}]


def new_classifier(config: ClassifierConfig, training: ImageSet, seed: int) -> SmallClassifier:
    """Return a classifier with random weights.

    Args:
        config: Its architecture. Classes, mean and standard deviation come from the images.
        training: The images that it will be trained on.
        seed: Of the weights.
    """
    pixels = training.images[:: max(1, len(training) // _STATISTICS_IMAGES)].float() / 255
    channels = pixels.transpose(0, 1).flatten(1)
    with seeded(seed):
        return SmallClassifier(
            replace(
                config,
                classes=training.class_count,
                mean=tuple(channels.mean(1).tolist()),
                std=tuple(channels.std(1).tolist()),
            )
        )
