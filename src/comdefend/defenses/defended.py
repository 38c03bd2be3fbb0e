"""A classifier behind a purifier."""

import torch.nn.functional as F
from torch import Tensor, nn

from comdefend.data.image import resized_size
from comdefend.errors import InputError, InputTypeError


class DefendedClassifier(nn.Module):
    """Purifies images, then classifies them: a drop-in for the classifier alone.

    Normalisation is the classifier's task. The pipeline is differentiable, straight through the
    purifier's threshold, so a gradient attack on it is an adaptive attack.

    Args:
        purifier: Images to images, for example a `ComDefend`.
        classifier: Images in [0, 1] to logits.
        resize: Shrink larger images to this shorter side before they are purified, in pixels,
            bilinear and antialiased: what the classifier takes. 0 leaves them.

    Raises:
        InputTypeError: One of them is not an ``nn.Module``.
        InputError: A negative size.
    """

    purifier: nn.Module
    classifier: nn.Module

    def __init__(self, purifier: nn.Module, classifier: nn.Module, resize: int = 0) -> None:
        super().__init__()
        if resize < 0:
            raise InputError(f"resize must not be negative: {resize}")
        for name, module in (("purifier", purifier), ("classifier", classifier)):
            if not isinstance(module, nn.Module):
                raise InputTypeError(f"{name} must be an nn.Module, not {type(module).__name__}")
        self.purifier = purifier
        self.classifier = classifier
        self.resize = resize
        # New modules are in training mode; this one takes the mode of its parts.
        self.training = purifier.training or classifier.training

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of purified images: (N, C, H, W) in [0, 1] -> (N, classes)."""
        height, width = images.shape[-2:]
        if self.resize and min(height, width) > self.resize:
            size = resized_size(width, height, self.resize)[::-1]
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        return self.classifier(self.purifier(images))
