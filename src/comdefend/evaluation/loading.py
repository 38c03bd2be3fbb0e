"""Experiments by name, from YAML, and from the plain values of a record."""

from collections.abc import Mapping
from typing import Any

from comdefend.attacks import ATTACKS, Attack, check_settings, find_attack
from comdefend.common import schema
from comdefend.common.extras import require_extra
from comdefend.errors import InputError
from comdefend.evaluation.experiment import Experiment
from comdefend.evaluation.shipped import TRAINED, read_experiment
from comdefend.training.recipe import load_recipe, recipe_to_dict


def load_experiment(name: str, profile: str = "small") -> Experiment:
    """Load an experiment by its shipped name or from a YAML file.

    Args:
        name: A name of `shipped.experiments`, or a path that ends in ``.yaml``.
        profile: ``small`` fits two cores, ``full`` takes all images, ``gpu`` wants one; without
            effect on a file without profiles.

    Raises:
        InputError: No such experiment or profile, or a bad field.
        DataMissingError: The file does not exist.
    """
    return build_experiment(*read_experiment(name, profile))


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
    if not experiment.adaptive:
        raise InputError(
            f"{where}: adaptive: name at least one attack; no oblivious figure stands alone"
        )
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
        InputError: An attack is unknown, needs a bound, takes no such setting, or needs gradients
            where it has none.
        ExtraMissingError: An attack's library is not installed.
    """
    # The sanity checks are made with PGD, whatever else is.
    attacks = {"pgd": ATTACKS["pgd"]}
    for plan in experiment.plans:
        attack = (given or {}).get(plan.attack) or find_attack(plan.attack)
        if not plan.eps and attack.norm == "Linf":
            raise InputError(f"attack '{plan.attack}' needs eps, in units of 1/255")
        check_settings(attack, plan)
        if attack.extra:
            require_extra(attack.extra)
        attacks[plan.attack] = attack
    if wrong := [p.attack for p in experiment.query if attacks[p.attack].kind != "query"]:
        raise InputError(f"query: attacks must be without gradients, not {wrong}")
    return attacks


def _with_recipes(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the values with each recipe written out, kind included, where it is a name."""
    fields = dict(values)
    for name, kinds in TRAINED.items():
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
