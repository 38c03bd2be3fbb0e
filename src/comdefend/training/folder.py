"""A run's folder: which training it holds, so that no other goes on in it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comdefend.common.atomic import atomic_write
from comdefend.errors import InputError, OutputError
from comdefend.training.recipe import Recipe, recipe_to_dict

_ABSENT = "absent"


def check_folder(output: Path, recipe: Recipe, precision: str) -> None:
    """Check that a folder is free for a training, or holds a part of it.

    Args:
        output: The run's folder, which may not exist.
        recipe: What to train by.
        precision: ``float32`` or ``bfloat16``.

    Raises:
        InputError: The folder holds a run of another recipe, or in another precision.
        OutputError: It is a file.
    """
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file, not a folder")
    if not (file := _recipe_file(output)).is_file():
        return
    way_out = "choose another --output or remove it"
    try:
        held = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError) as error:
        raise InputError(f"{file}: damaged; {way_out}") from error
    # Older runs did not note it.
    held_precision = held.pop("precision", precision)
    if differing := list(_differing(_comparable(held), _comparable(recipe_to_dict(recipe)))):
        raise InputError(
            f"{output}: holds a run of another recipe ({'; '.join(differing)}); {way_out}"
        )
    if held_precision != precision:
        raise InputError(
            f"{output}: holds a run in {held_precision}, not {precision}; go on with "
            f"--precision {held_precision}, or {way_out}"
        )


def open_folder(output: Path, recipe: Recipe, precision: str) -> None:
    """Note in a folder which training it holds, if it does not say so yet."""
    if not (file := _recipe_file(output)).is_file():
        note = {**recipe_to_dict(recipe), "precision": precision}
        atomic_write(file, (json.dumps(note, indent=2) + "\n").encode())


def _recipe_file(output: Path) -> Path:
    return output / "recipe.json"


def _comparable(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe with the one spelling of its data's path."""
    source, colon, path = str(recipe.get("data")).partition(":")
    if not colon:
        return recipe
    return recipe | {"data": f"{source}:{os.path.normpath(Path(path).expanduser())}"}


def _differing(held: Any, wanted: Any, path: str = "") -> Iterator[str]:
    """Yield the fields that differ, each with both values; between kinds, the kind alone."""
    if isinstance(held, dict) and isinstance(wanted, dict):
        names = held | wanted
        if held.get("kind") != wanted.get("kind"):
            names = {"kind": None}
        for name in names:
            inner = f"{path}.{name}" if path else name
            yield from _differing(held.get(name, _ABSENT), wanted.get(name, _ABSENT), inner)
    elif held != wanted:
        yield f"{path}: {_shown(held)} there, {_shown(wanted)} now"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
