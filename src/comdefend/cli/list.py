"""``comdefend list``."""

from collections.abc import Callable
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list", help=_HELP, epilog=_EPILOG)(list_known)


_HELP = """List attacks, defenses, classifiers, data, engines, recipes, weights or experiments.

Each with its name, as the other commands take it, and what it is."""

_EPILOG = """Examples:

comdefend list

comdefend list attacks"""


def list_known(
    what: Annotated[
        str | None,
        typer.Argument(help="One of those above; all by default.", show_default=False),
    ] = None,
) -> None:
    """List what there is; see the help text above."""
    from comdefend.errors import InputError

    if what is not None and what not in _LISTS:
        raise InputError(f"unknown list '{what}'; known: {', '.join(_LISTS)}")
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(emoji=False)
    for name in _LISTS if what is None else [what]:
        table = Table(title=name, title_justify="left", box=SIMPLE_HEAD, show_header=False)
        table.add_column(no_wrap=True, style="bold")
        table.add_column()
        for known, about in _LISTS[name]().items():
            table.add_row(known, about)
        console.print(table, markup=False)


def _attacks() -> dict[str, str]:
    from comdefend.attacks import ATTACKS

    return {
        **{name: f"{a.title}: {a.about}; {a.library}" for name, a in ATTACKS.items()},
        "package.module:function": "your own: (model, images, labels, eps) -> images",
    }


def _defenses() -> dict[str, str]:
    from comdefend.defenses import DEFENSES

    return dict(DEFENSES)


def _classifiers() -> dict[str, str]:
    from comdefend.classifiers import CLASSIFIERS

    return dict(CLASSIFIERS)


def _data() -> dict[str, str]:
    from comdefend.data.places import SOURCES

    return dict(SOURCES)


def _engines() -> dict[str, str]:
    from comdefend.engines import ENGINES

    return {
        name: f"{engine.about} ({', '.join(engine.precisions)})" for name, engine in ENGINES.items()
    }


def _recipes() -> dict[str, str]:
    from comdefend.training.shipped import recipe_titles

    return recipe_titles()


def _weights() -> dict[str, str]:
    from comdefend.zoo import load, weights

    found = {}
    for name in weights():
        config = load(name).config
        rates = ", ".join(f"{bpp:g}" for bpp in config.bpps)
        found[name] = f"{'RGB' if config.channels == 3 else 'grey'}, {rates} bits per pixel"
    return found


def _experiments() -> dict[str, str]:
    from comdefend.evaluation.shipped import experiments, read_experiment

    return {name: read_experiment(name, "small")[0]["title"] for name in experiments()}


_LISTS: dict[str, Callable[[], dict[str, str]]] = {
    "attacks": _attacks,
    "defenses": _defenses,
    "classifiers": _classifiers,
    "data": _data,
    "engines": _engines,
    "recipes": _recipes,
    "weights": _weights,
    "experiments": _experiments,
}
