"""A classifier that normalises its images."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from comdefend.errors import InputError


class Normalized(nn.Module):
    """A classifier that takes images in [0, 1] and normalises them, as its training did.

    Args:
        classifier: Normalised images to logits.
        mean, std: Mean and standard deviation of the training images, for each channel.

    Raises:
        InputError: They differ in length, or hold values that make no sense.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if not len(mean) == len(std) > 0:
            raise InputError(
                f"mean and std need a value for each channel, not {len(mean)} and {len(std)}"
            )
        if not all(math.isfinite(value) for value in mean):
            raise InputError(f"mean must be finite: {list(mean)}")
        if not all(0 < value < math.inf for value in std):
            raise InputError(f"std must be finite and above 0: {list(std)}")
        self.classifier = classifier
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))
        self.training = classifier.training

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images: (N, C, H, W) in [0, 1] -> (N, classes).

        Raises:
            InputError: The images have another number of channels than ``mean``.
        """
        channels = self.mean.shape[1]
        # Broadcasting would hide a wrong number of channels.
        if images.ndim != 4 or images.shape[1] != channels:
            raise InputError(
                f"images: must have shape (N, {channels}, H, W) for this mean and std, "
                f"not {tuple(images.shape)}"
            )
        return self.classifier((images - self.mean) / self.std)
