"""Record where to purify large photographs: ``python -m tools.photograph_sizes``.

At their own size, before they are resized for the classifier, or afterwards. Attacks are on the
classifier alone, at the photograph's own size, through the resizing. There are no labels: what
counts is whether the classifier's answer stays what it is for the clean photograph. Reads
photographs from ``COMDEFEND_DATA``.
"""

from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import center_crop, resize

from comdefend.classifiers import known_preprocessing, open_classifier
from comdefend.common.json_files import save_json
from comdefend.common.processor import Machine, this_machine
from comdefend.data.image_files import read_named
from comdefend.data.sources import load_training_images
from comdefend.defenses import load_defense
from comdefend.nn.batches import apply
from tools.attacking import Attack, attacked

RECORD = Path(__file__).parent.parent / "docs" / "records" / "photograph-sizes.json"
CLASSIFIER = "efficientnet-lite0"
DEFENSES = ("photo", "photo-clean", "jpeg:25")
ATTACKS = tuple(Attack("bim", eps, 10) for eps in (4, 8))
DATA = "photos/val"


class SizesRow(msgspec.Struct, frozen=True, kw_only=True):
    """One defence in one place.

    Attributes:
        defense: Its name.
        place: ``before`` the resizing, at the photograph's own size, or ``after`` it.
        clean: Share of clean photographs with the answer that they have without the defence.
        attacked: The same under each attack, in their order.
    """

    defense: str
    place: str
    clean: float
    attacked: tuple[float, ...]


class Sizes(Machine, frozen=True, kw_only=True):
    """What was measured.

    Attributes:
        classifier, data, images: What it was measured with.
        size: Height and width of the photographs.
        resize, crop: The shorter side that they are resized to, and the square cut out of them.
        attacks: On the classifier alone.
        rows: One for each defence and place.
    """

    classifier: str
    data: str
    images: int
    size: tuple[int, int]
    resize: int
    crop: int
    attacks: tuple[Attack, ...]
    rows: tuple[SizesRow, ...]


class Fitted(nn.Module):
    """Resizes photographs, and cuts the central square out of them."""

    def __init__(self, side: int, crop: int) -> None:
        super().__init__()
        self.side, self.crop = side, crop

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, C, crop, crop) in [0, 1] of (N, C, H, W) in [0, 1]."""
        return center_crop(resize(images, [self.side], antialias=True), [self.crop]).clamp(0, 1)


def measure() -> Sizes:
    """Return the record."""
    images, classifier = photographs(), open_classifier(CLASSIFIER)
    known = known_preprocessing(CLASSIFIER)
    assert known is not None
    fitted = Fitted(known.resize, known.crop)
    bare = nn.Sequential(fitted, classifier).eval()
    answers = apply(bare, images).argmax(1)
    versions = [images, *(attacked(bare, images, answers, attack, 0) for attack in ATTACKS)]
    rows = []
    for name in DEFENSES:
        defense = load_defense(name)
        for place, parts in (("before", (defense, fitted)), ("after", (fitted, defense))):
            answer = partial(apply, nn.Sequential(*parts, classifier).eval())
            clean, *shares = (
                (answer(version).argmax(1) == answers).float().mean().item() for version in versions
            )
            rows.append(SizesRow(defense=name, place=place, clean=clean, attacked=tuple(shares)))
    return Sizes(
        **this_machine(),
        classifier=CLASSIFIER,
        data=DATA,
        images=len(images),
        size=(images.shape[-2], images.shape[-1]),
        resize=known.resize,
        crop=known.crop,
        attacks=ATTACKS,
        rows=tuple(rows),
    )


def photographs() -> Tensor:
    """Return the photographs in landscape format, which have one size: (N, 3, H, W) in [0, 1]."""
    paths = load_training_images(f"folder:{DATA}", 3)
    assert not isinstance(paths, Tensor)
    read = [np.asarray(read_named(path).image.convert("RGB")) for path in paths]
    wide = np.stack([pixels for pixels in read if pixels.shape[1] > pixels.shape[0]])
    return torch.from_numpy(wide).permute(0, 3, 1, 2).float() / 255


if __name__ == "__main__":
    save_json(measure(), RECORD)
