"""Checks that attacks can measure a classifier correctly."""

from typing import Any

import torch
from torch import Tensor, nn

from comdefend.errors import ComdefendError, InputError, InputTypeError, one_line

_PROBABILITY_TOLERANCE = 1e-3
_NO_GRADIENT = (
    "the classifier passes no gradient to its images, which attacks need; do not use "
    "torch.no_grad(), inference_mode() or detach() in it"
)


def check_classifier(classifier: nn.Module, images: Tensor, labels: Tensor) -> int:
    """Check that attacks can measure a classifier correctly, and return its number of classes.

    Args:
        classifier: Images in [0, 1] to logits.
        images: (N, C, H, W) float in [0, 1], a few.
        labels: (N,) int64, the classes of the images.

    Returns:
        The number of classes.

    Raises:
        InputError: The classifier is in training mode, cannot take the images, returns
            probabilities, NaN, infinity or another shape than (N, classes), or has no gradient;
            or the labels do not fit images or classes.
        InputTypeError: The output or the labels have the wrong type.
    """
    # A single part left in training mode drops or normalises at random as well.
    if any(part.training for part in classifier.modules()):
        raise InputError("the classifier is in training mode; call its eval() first")
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        found = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise InputTypeError(f"labels: must be an int64 tensor, not {found}")
    if len(images) == 0:
        raise InputError("images: there are none to check the classifier on")
    if labels.shape != (len(images),):
        raise InputError(
            f"labels: must have shape ({len(images)},), one per image, not {tuple(labels.shape)}"
        )
    types = {p.dtype for p in classifier.parameters() if p.is_floating_point()}
    if types and images.dtype not in types:
        raise InputError(
            f"the classifier's weights are {types.pop()}, the images {images.dtype}; "
            "call its float() first"
        )
    classes = _check_logits(_answer(classifier, images), len(images))
    if not 0 <= labels.min() <= labels.max() < classes:
        raise InputError(
            f"labels: must lie in 0 to {classes - 1} for a classifier of {classes} classes, "
            f"found {labels.min()} to {labels.max()}"
        )
    _check_gradient(classifier, images[:2])
    return classes


def _answer(classifier: nn.Module, images: Tensor) -> Any:
    # A user's code may raise anything; assertions on sizes are common.
    try:
        with torch.no_grad():
            return classifier(images)
    except (ComdefendError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"the classifier cannot take images of shape {tuple(images.shape)}: {one_line(error)}"
        ) from error


def _check_gradient(classifier: nn.Module, images: Tensor) -> None:
    with torch.enable_grad():
        images = images.detach().clone().requires_grad_()
        try:
            (slope,) = torch.autograd.grad(classifier(images).sum(), images, allow_unused=True)
        except (ComdefendError, torch.OutOfMemoryError, MemoryError):
            raise
        # Autograd raises where the output needs no gradient, or a step has none.
        except Exception as error:
            raise InputError(f"{_NO_GRADIENT} ({one_line(error)})") from error
    if slope is None:
        raise InputError(_NO_GRADIENT)


def _check_logits(logits: Any, count: int) -> int:
    if not isinstance(logits, Tensor):
        raise InputTypeError(
            f"the classifier must return a tensor of logits, not {type(logits).__name__}"
        )
    if logits.shape in ((count,), (count, 1)):
        raise InputError(
            "the classifier returns one number per image; give it a logit for each of its two "
            "classes, such as torch.cat([-z, z], 1)"
        )
    if logits.ndim != 2 or len(logits) != count or logits.shape[1] < 2:
        raise InputError(
            f"the classifier must return logits of shape ({count}, classes), at least 2 classes, "
            f"not {tuple(logits.shape)}"
        )
    if not logits.isfinite().all():
        raise InputError("the classifier returns NaN or infinity for some images")
    within = ((logits >= 0) & (logits <= 1)).all()
    if within and ((logits.sum(1) - 1).abs() <= _PROBABILITY_TOLERANCE).all():
        raise InputError(
            "the classifier seems to return probabilities; attacks need logits: leave out its "
            "last softmax"
        )
    return logits.shape[1]
