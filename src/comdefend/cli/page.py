"""``comdefend app``."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("app", help=_HELP, epilog=_EPILOG)(page)


_HELP = """Serve a page on which a person attacks a photograph and sees what a purifier is worth.

Drop a photograph or take one of those that come along, choose classifier, purifier, rate and
attack, and look at both kinds of attacker side by side: one who does not know the purifier, and one
who does.

The page loads nothing from elsewhere and reports to nobody. Photographs are limited in size, held
in memory, and gone when the attack is over. It has no password: with a --host other than 127.0.0.1,
everyone who reaches that address can use it."""

_EPILOG = """Example:

comdefend app --port 8000"""


def page(
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="The port; 0 for any that is free.", min=0, max=65535)
    ] = 7860,
) -> None:
    """Serve the page; see the help text above."""
    from comdefend.common.extras import require_extra

    require_extra("app")
    from comdefend.app.server import serve

    serve(host, port, lambda address: print(f"{address} (Ctrl-C ends it)", flush=True))
