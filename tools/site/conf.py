"""How Sphinx builds the documentation site, from the pages as they lie in the repository."""

import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from comdefend._version import __version__  # noqa: E402

project = "comdefend"
author = "the authors of comdefend"
version = release = __version__
html_title = f"comdefend {version}"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_external_toc",
    "tools.site.links",
    "tools.site.names",
]

# Pages keep their places, so a link between them, or to a file beside them, is the same on the
# site as in the repository.
external_toc_path = str(ROOT / "tools/site/contents.yml")
include_patterns = ["*.md", "docs/**.md", "examples/README.md", "src/comdefend/zoo/shipped/*.md"]
exclude_patterns = [".*", "build", "demo", "dist", "runs", "tests", "tools"]

nitpicky = True
default_role = "py:obj"
nitpick_ignore_regex = [
    ("py:.*", r"(collections|datasets|numpy|np|nn|pathlib|PIL|torch)\..*"),
    ("py:class", "Path"),  # where an annotation is a string
    # What `Workers` are given; nobody makes one by hand.
    (
        "py:class",
        r"comdefend\.(evaluation\.(cells\.Cell|measures\.Workbench)|common\.store\.Store)",
    ),
]

myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

highlight_language = "text"

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False


def _leave_out(app: Sphinx, document: nodes.document) -> None:
    # The overview leads to the model cards; the navigation would be long with them.
    if app.env.docname.startswith("src/"):
        app.env.metadata[app.env.docname]["orphan"] = ""


def setup(app: Sphinx) -> None:
    """Let the model cards be pages outside the navigation."""
    app.connect("doctree-read", _leave_out)
