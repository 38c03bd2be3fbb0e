"""Experiments by name, from YAML, and from the plain values of a record."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

from comdefend.attacks import ATTACKS, Attack, find_attack
from comdefend.common import schema
from comdefend.errors import InputError
from comdefend.evaluation.experiment import Experiment
from comdefend.training.recipe import load_recipe, recipe_to_dict

EXPERIMENTS = resources.files("comdefend.evaluation") / "experiments"

# Fields that ask for training: the kinds of recipe they may hold, the one meant by default first.
_TRAINED = {
    "train_purifier": ("purifier", "denoiser", "pixelcnn"),
    "train_classifier": ("classifier",),
    "train_defense": ("defense",),
}


def experiments() -> list[str]:
    """Return the names of the experiments that ship."""
    files = (file.name for file in EXPERIMENTS.iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def load_experiment(name: str, profile: str = "small") -> Experiment:
    """Load an experiment by its shipped name or from a YAML file.

    Args:
        name: A name of `experiments`, or a path that ends in ``.yaml``.
        profile: ``small`` fits a machine with two cores, ``full`` wants a GPU; without effect on
            a file without profiles.

    Raises:
        InputError: No such experiment or profile, or a bad field.
        DataMissingError: The file does not exist.
    """
    values, where = _read(name)
    profiles = schema.mapping(values.pop("profiles", {}), f"{where}: profiles")
    stem = where.rpartition("/")[2].rpartition(".")[0]
    if not profiles:
        return build_experiment({"name": stem, **values}, where)
    if profile not in profiles:
        raise InputError(f"{where}: has no profile '{profile}'; it has: {', '.join(profiles)}")
    values |= schema.mapping(profiles[profile] or {}, f"{where}: profile {profile}")
    return build_experiment({"name": f"{stem}-{profile}", **values}, where)


def profiles_of(name: str) -> list[str]:
    """Return the profiles that an experiment has."""
    return list(_read(name)[0].get("profiles", {}))


def build_experiment(
    values: Mapping[str, Any], where: str, attacks: Mapping[str, Attack] | None = None
) -> Experiment:
    """Make an experiment of plain values, as a YAML file or a record holds them.

    Args:
        values: The fields of an `Experiment`; recipes and defences may be given by name.
        where: What messages begin with.
        attacks: Attacks by name that take the place of those known by name.

    Raises:
        InputError: A bad field.
    """
    fields = _with_recipes(values, where)
    if isinstance(defenses := fields.get("defenses"), list | tuple):
        # A defence may be given by its purifier alone.
        fields["defenses"] = [
            {"name": row, "purifier": row}
            if isinstance(row, str)
            else _with_recipes(schema.mapping(row, f"{where}: defenses"), f"{where}: defenses")
            for row in defenses
        ]
    experiment = schema.build(Experiment, fields, where)
    try:
        attacks_of(experiment, attacks)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return experiment


def attacks_of(
    experiment: Experiment, given: Mapping[str, Attack] | None = None
) -> dict[str, Attack]:
    """Return the attacks that an experiment needs, by name.

    Args:
        experiment: The experiment.
        given: Attacks by name that take the place of those known by name.

    Raises:
        InputError: An attack is unknown, needs a bound, or needs gradients where it has none.
    """
    # The sanity checks are made with PGD, whatever else is.
    attacks = {"pgd": ATTACKS["pgd"]}
    for plan in experiment.plans:
        attack = (given or {}).get(plan.attack) or find_attack(plan.attack)
        if not plan.eps and attack.norm == "Linf":
            raise InputError(f"attack '{plan.attack}' needs eps, in units of 1/255")
        attacks[plan.attack] = attack
    if wrong := [p.attack for p in experiment.query if attacks[p.attack].kind != "query"]:
        raise InputError(f"query: attacks must be without gradients, not {wrong}")
    return attacks


def _read(name: str) -> tuple[dict[str, Any], str]:
    if name.endswith((".yaml", ".yml")):
        return schema.parse_yaml(schema.read_text(name), name), name
    if name not in experiments():
        known = ", ".join(experiments())
        raise InputError(f"unknown experiment '{name}'; shipped: {known}; or give a .yaml file")
    file = EXPERIMENTS / f"{name}.yaml"
    return schema.parse_yaml(file.read_text(encoding="utf-8"), file.name), file.name


def _with_recipes(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the values with each recipe written out, kind included, where it is a name."""
    fields = dict(values)
    for name, kinds in _TRAINED.items():
        value, place = fields.get(name), f"{where}: {name}"
        if isinstance(value, str):
            recipe = load_recipe(value)
            if recipe.kind not in kinds:
                raise InputError(f"{place}: '{value}' trains a {recipe.kind}, not a {kinds[0]}")
            fields[name] = recipe_to_dict(recipe)
        elif value is not None:
            recipe_fields = {"kind": kinds[0], **schema.mapping(value, place)}
            if recipe_fields["kind"] not in kinds:
                wanted = " or ".join(kinds)
                raise InputError(f"{place}: kind must be {wanted}, not {recipe_fields['kind']!r}")
            fields[name] = recipe_fields
    return fields
