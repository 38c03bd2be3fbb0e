"""Record what a classifier makes of compressed files: ``python -m tools.codec_accuracy``.

Whole files of the codec beside other formats: bytes, and accuracy on what they hold, clean and
attacked. Attacks are on the classifier alone. Reads the ImageNet sample from ``COMDEFEND_DATA``.
"""

from pathlib import Path

import msgspec
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from comdefend.classifiers import open_classifier
from comdefend.common.json_files import save_json
from comdefend.common.processor import Machine, this_machine
from comdefend.data.listing import Wanted
from comdefend.data.sources import load_image_set
from comdefend.nn.batches import apply
from comdefend.nn.images import to_bytes
from tools.attacking import Attack, attacked
from tools.codec_rates import OF_PHOTOGRAPHS
from tools.image_codecs import ImageCodec, format_codecs, own_codecs, versions

RECORD = Path(__file__).parent.parent / "docs" / "records" / "codec-accuracy.json"
DATA = "parquet:imagenet-sample"
CLASSIFIER = "efficientnet-lite0"
IMAGES, CROP, SEED = 100, 224, 0
ATTACKS = tuple(Attack("bim", eps, 10) for eps in (4, 8))
QUALITIES = {
    "JPEG": (5, 10, 15, 20, 25, 35, 50, 75),
    "mozjpeg": (5, 10, 20, 35, 50, 75),
    "WebP": (1, 10, 25, 50, 75),
    "AVIF": (5, 20, 40, 55),
    "JPEG XL": (5, 15, 30, 50),
}


class AccuracyPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One codec at one setting, over all images.

    Attributes:
        codec: Weights, or a format.
        setting: Bits of code per pixel of weights, quality of a format.
        bpp: Mean bits per pixel of the files of clean images, headers included.
        clean: Accuracy on what these files hold.
        attacked: The same of attacked images, in the order of the attacks.
    """

    codec: str
    setting: float
    bpp: float
    clean: float
    attacked: tuple[float, ...]


class CodecAccuracy(Machine, frozen=True, kw_only=True):
    """What was measured.

    Attributes:
        classifier, data, images, crop: What it was measured with.
        seed: Draws the images and the attacks' starts.
        clean: Accuracy on the images themselves.
        attacks: On the classifier alone.
        attacked: Accuracy under each, without any codec.
        points: One for each codec and setting.
    """

    classifier: str
    data: str
    images: int
    crop: int
    seed: int
    clean: float
    attacks: tuple[Attack, ...]
    attacked: tuple[float, ...]
    points: tuple[AccuracyPoint, ...]


def measure() -> CodecAccuracy:
    """Return the record."""
    data = load_image_set(DATA, "test", 3, Wanted(count=IMAGES, crop=CROP, seed=SEED))
    classifier = open_classifier(CLASSIFIER)
    clean = data.images.float() / 255
    moved = [attacked(classifier, clean, data.labels, attack, SEED) for attack in ATTACKS]
    versions_of = [data.images, *map(to_bytes, moved)]

    def right(images: Tensor) -> float:
        return (apply(classifier, images).argmax(1) == data.labels).float().mean().item()

    points = []
    for codec in (*own_codecs(OF_PHOTOGRAPHS), *format_codecs(QUALITIES)):
        coded = [_coded(images, codec) for images in versions_of]
        (bytes_, rebuilt), *others = coded
        points.append(
            AccuracyPoint(
                codec=codec.name,
                setting=codec.setting,
                bpp=8 * bytes_ / CROP**2,
                clean=right(rebuilt),
                attacked=tuple(right(images) for _, images in others),
            )
        )
        print(points[-1], flush=True)
    return CodecAccuracy(
        **this_machine(*versions()),
        classifier=CLASSIFIER,
        data=DATA,
        images=len(data),
        crop=CROP,
        seed=SEED,
        clean=right(clean),
        attacks=ATTACKS,
        attacked=tuple(right(images) for images in moved),
        points=tuple(points),
    )


def _coded(pixels: Tensor, codec: ImageCodec) -> tuple[float, Tensor]:
    """Return the mean bytes of the files of (N, 3, H, W) uint8 images, and what these hold."""
    files = [codec.encode(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in pixels]
    rebuilt = np.stack([np.asarray(codec.decode(data)) for data in files])
    mean = sum(map(len, files)) / len(files)
    return mean, torch.from_numpy(rebuilt).permute(0, 3, 1, 2).float() / 255


if __name__ == "__main__":
    save_json(measure(), RECORD)
