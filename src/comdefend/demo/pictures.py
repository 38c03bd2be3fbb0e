"""Pictures of the demo: what an attack does, and what the purifier makes of it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, from_numpy

from comdefend.common.atomic import atomic_write
from comdefend.evaluation.panels import Example, Prediction

# Of Okabe and Ito's palette: told apart by people with any kind of colour vision.
RIGHT, WRONG = "#00724f", "#c04a00"
MAGNIFICATION = 16
CODE_MAPS = 4

COLUMNS = {
    "clean": "clean",
    "attacked": "attacked",
    "perturbation": f"perturbation ×{MAGNIFICATION}",
    "code": f"{CODE_MAPS} maps of the code",
    "purified": "attacked,\nthen purified",
    "adaptive": "adaptively attacked,\nthen purified",
}


def draw(
    examples: list[Example], codes: Tensor, title: str, path: Path, compared: str | None = None
) -> None:
    """Draw one row for each example and write the picture as PNG.

    Right labels have a tick and a whole frame, wrong ones a cross and a dashed frame.

    Args:
        examples: With images ``clean``, ``attacked``, ``purified`` and ``adaptive``.
        codes: (M, K, h, w), the code of each attacked image.
        title: Above the picture.
        path: The file to write.
        compared: Another purifier, by which examples have an image too: what it makes of the
            attacked image is shown in place of the code.

    Raises:
        OutputError: The file cannot be written.
    """
    columns = COLUMNS
    if compared is not None:
        other = compared, f"attacked, then purified\nby {compared}"
        columns = dict(other if pair[0] == "code" else pair for pair in COLUMNS.items())
    rows = len(examples)
    figure = Figure(figsize=(1.75 * len(columns), 2.0 * rows + 1.1), dpi=110, facecolor="white")
    axes = figure.subplots(rows, len(columns), squeeze=False)
    figure.suptitle(title, x=0.01, y=0.995, ha="left", va="top", fontsize=12, fontweight="bold")
    for axis, text in zip(axes[0], columns.values(), strict=True):
        axis.set_title(text, fontsize=9.5, color="#333333", pad=7)
    for row, example, code in zip(axes, examples, codes, strict=True):
        perturbation = example.images["attacked"] - example.images["clean"]
        made = {
            "perturbation": (0.5 + MAGNIFICATION * perturbation).clamp(0, 1),
            "code": mosaic(code, CODE_MAPS),
        }
        for axis, name in zip(row, columns, strict=True):
            image = made[name] if name in made else example.images[name]
            _panel(axis, image, example.predictions.get(name))
    figure.tight_layout(h_pad=0.8, w_pad=0.5)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic_write(path, buffer.getvalue())


def _panel(axes: Any, image: Tensor, prediction: Prediction | None) -> None:
    array = image.detach().permute(1, 2, 0).numpy()
    if array.shape[2] == 1:
        axes.imshow(array[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        axes.imshow(array, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    if prediction is None:
        for spine in axes.spines.values():
            spine.set_visible(False)
        return
    color = RIGHT if prediction.right else WRONG
    for spine in axes.spines.values():
        spine.set(color=color, linewidth=2.2, linestyle="-" if prediction.right else (0, (2, 1.5)))
    label = prediction.label if len(prediction.label) <= 16 else prediction.label[:15] + "…"
    mark = "✓" if prediction.right else "✗"
    axes.set_xlabel(
        f"{mark} {label} {prediction.confidence:.0%}", fontsize=8.5, color=color, labelpad=3
    )


def mosaic(code: Tensor, count: int) -> Tensor:
    """Return the maps of a code that vary most, in a square with grey lines between them.

    Args:
        code: (K, h, w), 0 or 1.
        count: So many maps, or all where there are fewer.

    Returns:
        (1, H, W) in [0, 1].
    """
    busiest = code.flatten(1).var(1).argsort(descending=True)[:count].sort().values
    maps = code[busiest].numpy()
    side = int(np.ceil(np.sqrt(len(maps))))
    rows = -(-len(maps) // side)
    height, width = maps.shape[1:]
    line = max(1, width // 28)
    canvas = np.full((rows * (height + line) - line, side * (width + line) - line), 0.6, np.float32)
    for index, bits in enumerate(maps):
        top, left = index // side * (height + line), index % side * (width + line)
        canvas[top : top + height, left : left + width] = bits
    return from_numpy(canvas).unsqueeze(0)
