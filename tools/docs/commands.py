"""The commands, as their own help describes them."""

import re

import typer
from typer.main import get_command

from comdefend.cli import app
from tools.docs.markdown import table

# What every command has.
_LEFT_OUT = "--help"
# How Typer writes an argument that must be given, once or several times.
_REQUIRED = re.compile(r"{(.+?)}(?:[.]{3})?")
_EXAMPLES = re.compile(r"Examples?:\s+")


def commands() -> str:
    """Return a section for each command: what it does, its arguments and options, examples."""
    group = get_command(app)
    context = typer.Context(group, info_name="comdefend")
    sections = [_section(name, command, context) for name, command in group.commands.items()]  # type: ignore[attr-defined]
    return "\n\n".join(sections)


def _section(name: str, command: typer.core.TyperCommand, parent: typer.Context) -> str:
    context = typer.Context(command, info_name=name, parent=parent)
    pieces = " ".join(command.collect_usage_pieces(context))
    usage = _REQUIRED.sub(r"\1", f"{context.command_path} {pieces}")
    rows = [_row(*record) for record in _records(command, context)]
    parts = [
        f"## {name}",
        f"```text\n{usage}\n```",
        command.help or "",
        table(["argument or option", ""], rows, 2),
    ]
    if command.epilog:
        # Examples stand in paragraphs of their own, where the help wraps the longer ones.
        examples = _EXAMPLES.sub("", command.epilog).replace("\n--", " \\\n    --")
        examples = examples.replace("\n\n", "\n")
        parts.append(f"```text\n{examples}\n```")
    return "\n\n".join(parts)


def _records(command: typer.core.TyperCommand, context: typer.Context) -> list[tuple[str, str]]:
    """Return each argument and option, as it is written, with what its help says."""
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    return [record for record in records if record and record[0] != _LEFT_OUT]


def _row(written: str, about: str) -> tuple[str, str]:
    words = " ".join(about.split())
    return f"`{written}`".replace("|", r"\|"), words.replace("|", r"\|").replace("*", r"\*")
