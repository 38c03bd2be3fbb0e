"""Objects in memory that are evaluated: images, a classifier, defences, attacks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from comdefend.attacks import Attack, find_attack, from_callable
from comdefend.data.image_set import ImageSet
from comdefend.errors import InputError, InputTypeError

Perturb = Callable[[nn.Module, Tensor, Tensor, float], Tensor]
"""A user's attack: model, images, labels and eps in units of 1/255 -> attacked images."""


@dataclass(frozen=True)
class Given:
    """Objects in memory that take the place of what an experiment names.

    Attributes:
        data: The labelled images.
        classifier: Images in [0, 1] to logits, in evaluation mode.
        defenses: Images to images, in evaluation mode, by the name of their purifier.
        attacks: By name.
    """

    data: ImageSet | None = None
    classifier: nn.Module | None = None
    defenses: Mapping[str, nn.Module] = field(default_factory=dict)
    attacks: Mapping[str, Attack] = field(default_factory=dict)


def image_set(
    images: Tensor | np.ndarray | None,
    labels: Tensor | np.ndarray | Sequence[int] | None,
    data: str | ImageSet | None,
) -> ImageSet | None:
    """Return the images in memory; None where a data set is named."""
    if (images is None) == (data is None) or (images is None) != (labels is None):
        raise InputError("give either images and labels, or data")
    if data is not None:
        return None if isinstance(data, str) else data
    pixels = torch.as_tensor(images).detach().cpu()
    if pixels.is_floating_point():
        low, high = (value.item() for value in pixels.aminmax()) if pixels.numel() else (0, 0)
        if not 0 <= low <= high <= 1:
            raise InputError(f"images: must lie in [0, 1] without NaN, found {low:g} to {high:g}")
        pixels = (pixels * 255).round().to(torch.uint8)
    classes = torch.as_tensor(labels).cpu()
    if classes.is_floating_point() or classes.dtype == torch.bool:
        raise InputTypeError(f"labels: must be integers, not {classes.dtype}")
    return ImageSet(pixels, classes.to(torch.int64))


def named_defenses(defenses: Iterable[str | nn.Module]) -> dict[str, nn.Module | None]:
    """Return defences by name: modules by that of their class, None where the name is all."""
    named: dict[str, nn.Module | None] = {}
    for item in defenses:
        if isinstance(item, str):
            named[item] = None
        elif isinstance(item, nn.Module):
            kind = type(item).__name__
            count = sum(name == kind or name.startswith(f"{kind} ") for name in named)
            named[f"{kind} {count + 1}" if count else kind] = item
        else:
            raise InputTypeError(
                f"defenses: must be names or nn.Modules, not {type(item).__name__}"
            )
    return named


def named_attack(item: str | Perturb | Attack) -> tuple[str, Attack, int | None]:
    """Return an attack's name, the attack, and the steps that were asked for."""
    if isinstance(item, Attack):
        return item.name, item, None
    if not isinstance(item, str):
        attack = from_callable(item)
        return attack.name, attack, None
    name, colon, steps = item.rpartition(":")
    if colon and steps.isdecimal():
        return name, find_attack(name), int(steps)
    return item, find_attack(item), None
