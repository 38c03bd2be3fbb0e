"""What the shell completes: the names of everything that has one, without importing torch."""

import inspect
import json
import typing
from collections.abc import Callable
from importlib import resources

import typer

# The names of what torch computes are in a file that `python -m tools.docs` writes.
_COMPLETED = {
    "attack": "attacks",
    "classifier": "classifiers",
    "data": "data",
    "defense": "defenses",
    "experiment": "experiments",
    "name": "recipes",
    "purified": "weights",
    "recipe": "recipes",
    "start": "weights",
    "weights": "weights",
}
"""Parameter of a command -> what its value is one of."""


def complete_names(app: typer.Typer) -> None:
    """Let the shell complete the parameters that take a name, in all commands."""
    for command in app.registered_commands:
        assert command.callback is not None
        for name, parameter in inspect.signature(command.callback).parameters.items():
            if name in _COMPLETED:
                info = typing.get_args(parameter.annotation)[1]
                info.autocompletion = _completer(_COMPLETED[name])


def names_of(what: str) -> list[str]:
    """Return the names of one kind, such as ``attacks``; those that end in a colon go on."""
    from comdefend.evaluation.shipped import experiments
    from comdefend.training.shipped import recipe_titles

    if what == "experiments":
        return experiments()
    if what == "recipes":
        return list(recipe_titles())
    file = resources.files("comdefend.cli") / "names.json"
    return list(json.loads(file.read_text(encoding="utf-8"))[what])


def _completer(what: str) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [name for name in names_of(what) if name.startswith(incomplete)]

    return complete
