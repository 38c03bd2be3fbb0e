"""Model cards: what a weight file holds, how it was trained, and what was measured."""

from typing import Any


def table_card(title: str, rows: dict[str, str], record: dict[str, Any]) -> str:
    """Return a card in Markdown: a title and a table, which ends with the versions."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines = [f"# {title}", "", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in (rows | {"versions": versions}).items()]
    return "\n".join(lines) + "\n"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 step`` and ``2 steps``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def classifier_name(value: str | dict[str, Any]) -> str | None:
    """Return the name of a recipe's classifier; None for the architecture of a new one."""
    return value if isinstance(value, str) else value.get("name")
