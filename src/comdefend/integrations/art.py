"""Purifiers in the Adversarial Robustness Toolbox (ART), and ART's attacks and defences in ours."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from comdefend.attacks import Attack, from_callable
from comdefend.attacks.art import generate
from comdefend.common.extras import require
from comdefend.defenses.transformation import StraightThrough
from comdefend.integrations.arrays import opened
from comdefend.nn.batches import batches, images_at_once
from comdefend.nn.device import device_of, dtype_of

_PREPROCESSOR: Any = require("art.defences.preprocessor.preprocessor", "art").PreprocessorPyTorch


class ArtPurifier(_PREPROCESSOR):
    """A purifier as one of ART's ``preprocessing_defences``.

    ART differentiates ``forward`` itself, and never calls ``estimate_forward`` for estimators of
    torch (1.20). The purifier's gradient, straight through its threshold, is that of ``forward``,
    so ART's attacks on the estimator are adaptive, as those on a `DefendedClassifier`.

    Args:
        purifier: A name as `load_defense` takes it, or an ``nn.Module``, images to images.
        apply_fit: Purify in training too, as for a classifier that is used to purified images.
        apply_predict: Purify when predicting and attacking.

    Raises:
        InputError: Unknown name, or a purifier in training mode.
        InputTypeError: The purifier is neither.
        ExtraMissingError: ART is not installed.
    """

    def __init__(
        self, purifier: str | nn.Module, apply_fit: bool = False, apply_predict: bool = True
    ) -> None:
        self.purifier = opened(purifier)
        kind = "cpu" if device_of(self.purifier).type == "cpu" else "gpu"
        super().__init__(
            device_type=kind, is_fitted=True, apply_fit=apply_fit, apply_predict=apply_predict
        )

    def forward(self, x: Tensor, y: Any = None) -> tuple[Tensor, Any]:
        """Return purified images, (N, C, H, W) float in [0, 1], and the labels as they are."""
        # With NumPy 2 some of ART's attacks compute in float64.
        x = x.to(dtype_of(self.purifier))
        if torch.is_grad_enabled():
            return self.purifier(x), y
        # ART predicts all images at once.
        parts = batches(len(x), images_at_once(self.purifier, x))
        return torch.cat([self.purifier(x[part]) for part in parts]), y


class ArtDefense(StraightThrough):
    """One of ART's preprocessors as a defence that `comdefend.evaluate` takes.

    Its gradient is that of the identity, as ART estimates it by default.

    Args:
        preprocessor: Made for images (N, C, H, W) in [0, 1], as by ``channels_first=True`` and
            ``clip_values=(0, 1)``.
    """

    def __init__(self, preprocessor: Any) -> None:
        super().__init__()
        self.preprocessor = preprocessor

    def transform(self, images: Tensor) -> Tensor:
        """Apply it."""
        transformed, _ = self.preprocessor(images.cpu().numpy())
        return torch.from_numpy(transformed).to(images)

    def extra_repr(self) -> str:
        """Return its name."""
        return type(self.preprocessor).__name__


def art_attack(name: str, make: Callable[[Any, float], Any]) -> Attack:
    """Return an attack of ART as one that `comdefend.evaluate` takes.

    What ART draws is seeded as the evaluation asks. Images that it changes by more than eps, as
    attacks do that look for the smallest change, count as not broken.

    Args:
        name: What tables and records call it.
        make: Given ART's estimator and eps on the scale of [0, 1], returns ART's attack.
    """

    def attack(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        bound = eps / 255
        attacked = generate(
            lambda estimator: make(estimator, bound), model, images, labels, torch.initial_seed()
        )
        # A millionth for float32, as for HopSkipJump of our own.
        within = (attacked - images).abs().flatten(1).amax(1) <= bound + 1e-6
        return torch.where(within.view(-1, 1, 1, 1), attacked, images)

    return from_callable(attack, name)
