"""The fields of every kind of recipe, read from the structures that check them."""

import re
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from comdefend.classifiers import ClassifierSpec
from comdefend.training import kinds
from tools.docs.markdown import table

RECIPES: tuple[type[msgspec.Struct], ...] = typing.get_args(kinds.Recipe)

_HEAD = ("field", "takes", "default", "meaning")
_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_ELSEWHERE = re.compile(r"As for `(\w+)`\.")


def recipes() -> str:
    """Every kind of recipe, and then the networks that they hold."""
    networks = dict.fromkeys(network for recipe in RECIPES for network in _networks(recipe))
    return "\n\n".join(map(_section, (*RECIPES, *networks)))


def title(struct: type[msgspec.Struct]) -> str:
    """Return what the heading of a structure calls it."""
    if struct in RECIPES:
        return f"kind: {struct.__struct_config__.tag}"
    if struct is ClassifierSpec:
        return "Classifier with a checkpoint"
    return f"Network of a {struct.__name__.removesuffix('Config').lower()}"


def meanings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Return what the docstrings of a structure and its bases say of each field.

    Raises:
        LookupError: A field is not described.
    """
    found: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        found |= dict(_described(base.__doc__ or ""))
    fields = [field.encode_name for field in msgspec.structs.fields(struct)]
    if missing := [name for name in fields if name not in found]:
        raise LookupError(f"{struct.__name__}: its docstring has no {', '.join(missing)}")
    return {name: _followed(found[name], name) for name in fields}


def _section(struct: type[msgspec.Struct]) -> str:
    about = (struct.__doc__ or "").partition("\n")[0]
    described = meanings(struct)
    rows = [
        [f"`{field.encode_name}`", _takes(field.type), _default(field), described[field.name]]
        for field in msgspec.structs.fields(struct)
    ]
    return f"## {title(struct)}\n\n{about}\n\n{table(_HEAD, rows, names=len(_HEAD))}"


def _described(docstring: str) -> Iterator[tuple[str, str]]:
    """Yield the fields that an "Attributes:" part describes, each in one line of Markdown."""
    part = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    for entry in re.split(r"\n {8}(?=\S)", "\n" + part):
        names, colon, words = entry.partition(": ")
        if colon:
            text = " ".join(words.split()).replace("``", "`").replace("|", "\\|")
            text = re.sub(r"\bNone\b", "`null`", text)
            yield from ((name, text) for name in names.split(", "))


def _followed(text: str, name: str) -> str:
    """Return a description, where it names another structure that of the field there."""
    other = _ELSEWHERE.fullmatch(text)
    return meanings(getattr(kinds, other[1]))[name] if other else text


def _networks(struct: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for field in msgspec.structs.fields(struct):
        yield from _structs(field.type)


def _structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """Yield the structures of which a type is made."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for part in typing.get_args(kind):
        yield from _structs(part)


def _takes(kind: Any) -> str:
    """Return in words what a field takes; a network is a link to its fields."""
    arguments = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is Annotated:
        return _takes(arguments[1])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_takes(part) for part in arguments)
    if origin is tuple:
        parts = typing.get_args(arguments[0]) or (arguments[0],)
        many = " or ".join(f"{_WORDS[p]}s" if p in _WORDS else _takes(p) for p in parts)
        return f"list of {'' if arguments[-1] is ... else f'{len(arguments)} '}{many}"
    if kind is types.NoneType:
        return "`null`"
    if kind in _WORDS:
        return _WORDS[kind]
    heading = title(kind)
    return f"[{heading[0].lower()}{heading[1:]}](#{heading.lower().replace(' ', '-')})"


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = msgspec.json.encode(field.default).decode()
    return f"`{value}`".replace(",", ", ")
