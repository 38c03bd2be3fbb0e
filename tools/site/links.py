"""Links to what is no page: records, reports, scripts, folders.

A file that a page links to lies at the same place of the site as in the repository, so the link
stays as it is written and opens the file, where Sphinx would make a download of it. A link to a
folder leads to the README in it, if that is a page, and else becomes plain text.
"""

import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class LinkedFiles(SphinxTransform):
    """Rewrites the links of a page, and copies the files that they lead to."""

    # Before Sphinx collects downloads, to copy them to names of its own.
    default_priority = 700

    def apply(self, **kwargs: Any) -> None:
        """Change the document in place."""
        for link in list(self.document.findall(addnodes.download_reference)):
            self._open(link)
        for link in list(self.document.findall(addnodes.pending_xref)):
            if link["reftype"] == "myst":
                self._enter(link)

    def _open(self, link: addnodes.download_reference) -> None:
        relative, path = self.env.relfn2path(link["reftarget"], self.env.docname)
        copy = Path(self.app.outdir, relative)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        link.replace_self(nodes.reference("", "", *link.children, refuri=link["reftarget"]))

    def _enter(self, link: addnodes.pending_xref) -> None:
        relative, path = self.env.relfn2path(link["reftarget"], self.env.docname)
        if not Path(path).is_dir():
            return
        readme = f"{relative}/README"
        if readme in self.env.found_docs:
            link["refdomain"], link["reftarget"], link["reftargetid"] = "doc", readme, None
        else:
            link.replace_self(link.children)


def setup(app: Sphinx) -> dict[str, Any]:
    """Rewrite links on every page."""
    app.add_transform(LinkedFiles)
    return {"parallel_read_safe": True}
