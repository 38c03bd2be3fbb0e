"""The experiments that ship, and files of the same form, as plain values: read without torch."""

from importlib import resources
from typing import Any

from comdefend.common import schema
from comdefend.errors import InputError

_FOLDER = resources.files("comdefend.evaluation") / "experiments"

SAMPLE = 500
"""Images that an experiment takes unless it says otherwise."""

TRAINED = {
    "train_purifier": ("purifier", "denoiser", "pixelcnn"),
    "train_classifier": ("classifier",),
    "train_defense": ("defense",),
}
"""Fields that ask for training -> the kinds of recipe they may hold, the default first."""


def experiments() -> list[str]:
    """Return the names of the experiments that ship."""
    files = (file.name for file in _FOLDER.iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def profiles_of(name: str) -> list[str]:
    """Return the profiles that an experiment has."""
    return list(_read(name)[0].get("profiles", {}))


def read_experiment(name: str, profile: str) -> tuple[dict[str, Any], str]:
    """Return the fields of an experiment, not checked yet, and what messages about it begin with.

    Args:
        name: A name of `experiments`, or a path that ends in ``.yaml``.
        profile: One of `profiles_of`; without effect on a file without profiles.

    Raises:
        InputError: No such experiment or profile.
        DataMissingError: The file does not exist.
    """
    values, where = _read(name)
    profiles = schema.mapping(values.pop("profiles", {}), f"{where}: profiles")
    stem = where.rpartition("/")[2].rpartition(".")[0]
    if not profiles:
        return {"name": stem, **values}, where
    if profile not in profiles:
        raise InputError(f"{where}: has no profile '{profile}'; it has: {', '.join(profiles)}")
    values |= schema.mapping(profiles[profile] or {}, f"{where}: profile {profile}")
    return {"name": f"{stem}-{profile}", **values}, where


def _read(name: str) -> tuple[dict[str, Any], str]:
    if name.endswith((".yaml", ".yml")):
        return schema.parse_yaml(schema.read_text(name), name), name
    if name not in experiments():
        known = ", ".join(experiments())
        raise InputError(f"unknown experiment '{name}'; shipped: {known}; or give a .yaml file")
    file = _FOLDER / f"{name}.yaml"
    return schema.parse_yaml(file.read_text(encoding="utf-8"), file.name), file.name
