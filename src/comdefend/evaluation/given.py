"""Objects in memory that are evaluated: images, a classifier, defences, attacks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from comdefend.attacks import ATTACKS, Attack, AttackFunction, find_attack, from_callable
from comdefend.classifiers import Normalized
from comdefend.data.hugging_face import is_dataset, list_dataset
from comdefend.data.image_set import ImageSet
from comdefend.data.listing import Listing
from comdefend.errors import InputError, InputTypeError
from comdefend.nn.images import to_bytes


@dataclass(frozen=True)
class Given:
    """Objects in memory that take the place of what an experiment names.

    Attributes:
        data: The labelled images, decoded or not.
        classifier: Images in [0, 1] to logits, in evaluation mode.
        defenses: Images to images, in evaluation mode, by the name of their purifier.
        attacks: By name.
    """

    data: ImageSet | Listing | None = None
    classifier: nn.Module | None = None
    defenses: Mapping[str, nn.Module] = field(default_factory=dict)
    attacks: Mapping[str, Attack] = field(default_factory=dict)


def image_set(
    images: Tensor | np.ndarray | None,
    labels: Tensor | np.ndarray | Sequence[int] | None,
    data: Any,
) -> ImageSet | Listing | None:
    """Return the images that are given as objects; None where a data set is named.

    Args:
        images, labels: Arrays or tensors.
        data: Instead of the two: a name, an `ImageSet`, or a ``datasets.Dataset``.

    Raises:
        InputError: Both are given or neither, or they hold something else than labelled images.
        InputTypeError: One of them has the wrong type.
    """
    if (images is None) == (data is None) or (images is None) != (labels is None):
        raise InputError("give either images and labels, or data")
    if data is not None:
        return _named_or_listed(data)
    pixels = torch.as_tensor(images).detach().cpu()
    if pixels.is_floating_point():
        low, high = (value.item() for value in pixels.aminmax()) if pixels.numel() else (0, 0)
        if not 0 <= low <= high <= 1:
            raise InputError(f"images: must lie in [0, 1] without NaN, found {low:g} to {high:g}")
        pixels = to_bytes(pixels)
    try:
        classes = torch.as_tensor(labels).cpu()
    except (TypeError, ValueError) as error:
        raise InputTypeError(f"labels: must be integers ({error})") from error
    if classes.is_floating_point() or classes.dtype == torch.bool:
        raise InputTypeError(f"labels: must be integers, not {classes.dtype}")
    return ImageSet(pixels, classes.to(torch.int64))


def _named_or_listed(data: Any) -> ImageSet | Listing | None:
    if isinstance(data, str):
        return None
    if isinstance(data, ImageSet):
        return data
    if is_dataset(data):
        return list_dataset(data)
    kind = type(data).__name__
    raise InputTypeError(f"data: must be a name, an ImageSet or a datasets.Dataset, not {kind}")


def data_name(data: Any, given: ImageSet | Listing | None) -> str:
    """Return what records call the data."""
    if isinstance(data, str):
        return data
    return given.where if isinstance(given, Listing) else "memory"


def own_classifier(
    classifier: nn.Module | str, mean: Sequence[float] | None, std: Sequence[float] | None
) -> nn.Module | None:
    """Return a classifier that was given as an object; None where it is named.

    Args:
        classifier: Images to logits, or a name.
        mean, std: What it wants images normalised by, if it does not do so itself.

    Raises:
        InputTypeError: It is neither.
    """
    if isinstance(classifier, str):
        return None
    if not isinstance(classifier, nn.Module):
        kind = type(classifier).__name__
        raise InputTypeError(f"classifier must be an nn.Module or a name, not {kind}")
    return classifier if mean is None or std is None else Normalized(classifier, mean, std)


def named_defenses(
    defenses: str | nn.Module | Iterable[str | nn.Module] | Mapping[str, nn.Module],
) -> dict[str, nn.Module | None]:
    """Return defences by name: modules by that of their class, None where the name is all."""
    if isinstance(defenses, Mapping):
        return dict(defenses)
    named: dict[str, nn.Module | None] = {}
    for item in [defenses] if isinstance(defenses, str | nn.Module) else defenses:
        if isinstance(item, str):
            named[item] = None
        elif isinstance(item, nn.Module):
            named[_free(type(item).__name__, named)] = item
        else:
            raise InputTypeError(
                f"defenses: must be names or nn.Modules, not {type(item).__name__}"
            )
    return named


def named_attacks(
    attacks: str | AttackFunction | Attack | Iterable[str | AttackFunction | Attack],
) -> dict[str, tuple[Attack, int | None]]:
    """Return attacks by name, each with the steps that were asked for."""
    named: dict[str, tuple[Attack, int | None]] = {}
    items = [attacks] if isinstance(attacks, str | Attack) or callable(attacks) else attacks
    for item in items:
        if isinstance(item, str):
            name, colon, steps = item.rpartition(":")
            if colon and steps.isdecimal():
                named[name] = find_attack(name), int(steps)
            elif colon and name in ATTACKS:
                raise InputError(f"attack '{item}': steps must be a number, as in {name}:10")
            else:
                named[item] = find_attack(item), None
            continue
        attack = item if isinstance(item, Attack) else from_callable(item)
        if attack.name in ATTACKS and attack is not ATTACKS[attack.name]:
            raise InputError(f"attack '{attack.name}': there is one of that name; rename yours")
        name = _free(attack.name, named)
        named[name] = msgspec.structs.replace(attack, name=name), None
    return named


def _free(name: str, taken: Iterable[str]) -> str:
    """Return a name that is not taken: the same, or the same with a number."""
    count = sum(other == name or other.startswith(f"{name} ") for other in taken)
    return f"{name} {count + 1}" if count else name
