"""How all figures are drawn: colours, panels, legends, and SVG text that equal data make equal.

Text stays text in the SVG.
"""

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from comdefend.common.extras import require

INK, FAINT, GRID = "#24292f", "#6a717a", "#e4e2dd"
# Okabe and Ito's palette without its yellow, which is too weak for lines on white.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_SETTINGS = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#a9adb2",
    "axes.grid": True,
    "axes.labelcolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.color": INK,
    # Names may hold dollar signs.
    "text.parse_math": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


@contextmanager
def drawing(name: str) -> Iterator[None]:
    """Use matplotlib's defaults with ours over them, whatever the user's are, for a block.

    Args:
        name: Salt of the identifiers within the SVG, so that two in one page do not collide.
    """
    matplotlib = require("matplotlib", "evaluate")
    with matplotlib.rc_context(), warnings.catch_warnings():
        # The reader's fonts draw the text, not ours.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_SETTINGS, "svg.hashsalt": f"comdefend-{name}"})
        yield


def panels(count: int, across: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """Return a figure and its panels, ``across`` in a row; ``size`` is one panel's, in inches."""
    rows, columns = math.ceil(count / across), across
    figures = require("matplotlib.figure", "evaluate")
    width, height = size
    figure = figures.Figure(figsize=(columns * width, rows * height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.04, hspace=0.06)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def add_title(axes: Any, name: str, sense: str) -> None:
    """Write a panel's title, and below it, smaller, what it means."""
    axes.set_title(name, fontsize=10, fontweight="bold", pad=20 if sense else 8)
    if sense:
        axes.annotate(
            sense, (0, 1), xytext=(0, 8), xycoords="axes fraction", textcoords="offset points",
            fontsize=8, color=FAINT,
        )  # fmt: skip


def add_legend(
    figure: Any, entries: Sequence[tuple[Any, str]], title: str = "", beside: bool = False
) -> None:
    """Add a legend below all panels or beside them; the figure grows to hold it."""
    names = [name for _, name in entries]
    width, height = figure.get_size_inches()
    entry = 0.6 + 0.085 * max(len(name) for name in [*names, title])
    columns = 1 if beside else max(1, min(len(names), int(width / entry)))
    if beside:
        figure.set_size_inches(width + entry - 0.2, max(height, 0.5 + 0.19 * len(names)))
    else:
        figure.set_size_inches(width, height + 0.15 + 0.19 * math.ceil(len(names) / columns))
    legend = figure.legend(
        [key for key, _ in entries],
        names,
        loc="outside right center" if beside else "outside lower left",
        ncols=columns,
        fontsize=8.5,
        title=title or None,
        title_fontsize=8.5,
        alignment="left",
        handlelength=2.4,
        columnspacing=1.6,
    )
    legend.get_title().set_color(FAINT)


def svg(figure: Any, description: str) -> str:
    """Return a figure as SVG text, with a description for those who do not see it."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Numbered identifiers are never referred to, and would not be unique in a page of several.
    text = re.sub(r' id="[A-Za-z0-9.]+_[0-9]+"', "", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)
