"""``comdefend info``."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("info", help=_HELP, epilog=_EPILOG)(info)


_HELP = """Tell what a file that compress wrote holds, without opening any weights."""

_EPILOG = """Example:

comdefend info photo.comd"""


def info(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A compressed image, or its address.", show_default=False
        ),
    ],
) -> None:
    """Tell what a file holds; the help text is above."""
    from comdefend.codec.files import read_info

    found = read_info(file)
    header = found.header
    colours = "RGB" if header.channels == 3 else "grey"
    coded = "by probability tables" if any(header.tables_digest) else "none"
    print(f"image:    {header.width}x{header.height}, {colours}")
    print(f"weights:  {header.weights}, SHA-256 {header.weights_digest.hex()}...")
    print(f"coding:   {coded}")
    for there, name, size in (
        (header.alpha, "alpha:   ", found.alpha),
        (header.profile, "profile: ", found.profile),
    ):
        if there:
            print(f"{name} {size:,} bytes")
    print(f"file:     {found.size:,} bytes{', truncated' if found.truncated else ''}")
    stored = zip(header.bpps, found.rates, found.stored_bpps, strict=False)
    for bpp, size, stored_bpp in stored:
        print(f"at {bpp:g} bits of code per pixel: {size:,} bytes, {stored_bpp:.3f} bits per pixel")
