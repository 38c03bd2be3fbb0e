"""Docstrings as Sphinx is to read them.

A name in backticks links to that name, whichever module it is documented under, and a line of Args,
Attributes or Raises may describe several names.
"""

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

_SEVERAL = re.compile(r"^    (\w+(?:, \w+)+)(: .*(?:\n {8}.*)*)$", re.MULTILINE)


def prepare(
    app: Sphinx, what: str, name: str, described: object, options: object, lines: list[str]
) -> None:
    """Change the lines of a docstring in place."""

    def apart(match: re.Match[str]) -> str:
        return "\n".join(f"    {each}{match[2]}" for each in match[1].split(", "))

    text = _SEVERAL.sub(apart, "\n".join(lines))
    # The magnitude of a logit; to reStructuredText it is the name of a substitution.
    lines[:] = text.replace("|z|", r"\|z\|").split("\n")
    if what in ("attribute", "data", "property"):
        # What stands before a colon in the first line would be read as the type: now the first
        # line is an empty comment.
        lines[:0] = ["..", ""]


def find(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.TextElement
) -> nodes.Element | None:
    """Return a link to a name that is not written with its module, or None."""
    if node["refdomain"] != "py" or node.get("refspecific"):
        return None
    node["refspecific"] = True
    domain = env.domains["py"]
    docname, kind, target = node["refdoc"], node["reftype"], node["reftarget"]
    return domain.resolve_xref(env, docname, app.builder, kind, target, node, content)


def setup(app: Sphinx) -> dict[str, Any]:
    """Read docstrings before napoleon does, and look again for what has not been found."""
    app.connect("autodoc-process-docstring", prepare, priority=400)
    app.connect("missing-reference", find)
    return {"parallel_read_safe": True}
