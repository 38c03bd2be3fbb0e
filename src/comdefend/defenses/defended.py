"""A classifier behind a purifier."""

from torch import Tensor, nn

from comdefend.errors import InputTypeError


class DefendedClassifier(nn.Module):
    """Purifies images, then classifies them: a drop-in for the classifier alone.

    Normalisation is the classifier's task. The pipeline is differentiable, straight through the
    purifier's threshold, so a gradient attack on it is an adaptive attack.

    Args:
        purifier: Images to images, for example a `ComDefend`.
        classifier: Images in [0, 1] to logits.

    Raises:
        InputTypeError: One of them is not an ``nn.Module``.
    """

    purifier: nn.Module
    classifier: nn.Module

    def __init__(self, purifier: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        for name, module in (("purifier", purifier), ("classifier", classifier)):
            if not isinstance(module, nn.Module):
                raise InputTypeError(f"{name} must be an nn.Module, not {type(module).__name__}")
        self.purifier = purifier
        self.classifier = classifier
        # New modules are in training mode; this one takes the mode of its parts.
        self.training = purifier.training or classifier.training

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of purified images: (N, C, H, W) in [0, 1] -> (N, classes)."""
        return self.classifier(self.purifier(images))
