"""``comdefend recipe``."""

from typing import Annotated

import typer

from comdefend.errors import InputError
from comdefend.training.shipped import recipe_texts


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("recipe", help=_HELP, epilog=_EPILOG)(print_recipe)


_HELP = """Print a recipe that ships, to start one of your own from.

**comdefend list recipes** lists them; **comdefend train** takes the YAML file that you make of
one."""

_EPILOG = """Examples:

comdefend recipe rgb-12bpp > mine.yaml

comdefend train mine.yaml --output runs/mine"""


def print_recipe(
    name: Annotated[str, typer.Argument(help="A recipe that ships.", show_default=False)],
) -> None:
    """Print a recipe; see the help text above."""
    texts = recipe_texts()
    if name not in texts:
        raise InputError(f"unknown recipe '{name}'; shipped: {', '.join(texts)}")
    print(texts[name], end="")
