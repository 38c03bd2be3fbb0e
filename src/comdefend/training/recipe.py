"""Recipes by name, from YAML files, and as plain values."""

import json
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, overload

import msgspec

from comdefend.common import schema
from comdefend.errors import InputError
from comdefend.training.kinds import (
    ClassifierRecipe,
    DefenseRecipe,
    DenoiserRecipe,
    GuidedRecipe,
    PixelCNNRecipe,
    PurifierRecipe,
    PurifyingRecipe,
    Recipe,
)
from comdefend.training.shipped import recipe_texts

__all__ = [
    "ClassifierRecipe",
    "DefenseRecipe",
    "DenoiserRecipe",
    "GuidedRecipe",
    "PixelCNNRecipe",
    "PurifierRecipe",
    "PurifyingRecipe",
    "Recipe",
    "build_recipe",
    "load_recipe",
    "recipe_to_dict",
    "recipes",
]

_KINDS = {str(kind.__struct_config__.tag): kind for kind in typing.get_args(Recipe)}

_Recipe = TypeVar("_Recipe", bound=Recipe)


@cache
def recipes() -> dict[str, Recipe]:
    """Return the shipped recipes by name."""
    return {name: _read(text, f"{name}.yaml") for name, text in recipe_texts().items()}


@overload
def load_recipe(name: str, kind: type[_Recipe], **changes: Any) -> _Recipe: ...


@overload
def load_recipe(name: str, kind: None = None, **changes: Any) -> Recipe: ...


def load_recipe(name: str, kind: Any = None, **changes: Any) -> Any:
    """Load a recipe by its shipped name or from a YAML file.

    Args:
        name: A name of `recipes`, or a path that ends in ``.yaml``.
        kind: The class of recipe that is wanted, or a union of several; any by default.
        changes: Fields to replace; those that are None stay. With other ``data`` a shipped recipe's
            ``validation`` is the default of its kind. ``start`` replaces a
            `DefenseRecipe`'s purifier, and skips the epochs in which a new one learns to rebuild.
            ``classifier`` takes the place of all guides of a `GuidedRecipe`.

    Raises:
        InputError: No such recipe, one of another kind, or a bad field.
        DataMissingError: The file does not exist.
    """
    if name.endswith((".yaml", ".yml")):
        recipe = _read(schema.read_text(name), name)
    elif name in recipes():
        recipe = recipes()[name]
    else:
        known = (n for n, r in recipes().items() if kind is None or isinstance(r, kind))
        raise InputError(
            f"unknown recipe '{name}'; shipped: {', '.join(known)}; or give a .yaml file"
        )
    if kind is not None and not isinstance(recipe, kind):
        wanted = " or ".join(k for k, known_kind in _KINDS.items() if issubclass(known_kind, kind))
        raise InputError(f"{name}: is a recipe for a {recipe.kind}, not for a {wanted}")
    wanted_changes = {field: value for field, value in changes.items() if value is not None}
    values = recipe_to_dict(recipe)
    if name in recipes() and wanted_changes.get("data", recipe.data) != recipe.data:
        # What a shipped recipe holds out fits its own data.
        del values["validation"]
    if isinstance(recipe, GuidedRecipe) and "classifier" in wanted_changes:
        wanted_changes["classifiers"] = [wanted_changes.pop("classifier")]
    if isinstance(recipe, DefenseRecipe) and "start" in wanted_changes:
        if not recipe.purifies:
            raise InputError(f"{name}: has no purifier, so none to start from")
        start = wanted_changes.pop("start")
        wanted_changes |= {"purifier": start, "network": None, "clean_epochs": 0}
    return build_recipe(values | wanted_changes, name)


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain JSON types, as recipe files and records hold it."""
    return dict(json.loads(msgspec.json.encode(recipe)))


def build_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """Make a recipe from plain values, as recipe files and experiments hold them.

    Args:
        values: The fields, and ``kind``.
        where: What messages begin with, such as the name of the file.

    Raises:
        InputError: A bad field.
    """
    if values.get("kind") not in _KINDS:
        raise InputError(f"{where}: needs kind, one of {', '.join(_KINDS)}")
    return schema.build(_KINDS[values["kind"]], values, where)


def _read(text: str, where: str) -> Recipe:
    return build_recipe(schema.parse_yaml(text, where), where)
