"""Record what compressed files cost and keep: ``python -m tools.codec_rates``.

Whole files of the codec beside JPEG, WebP and AVIF, on the same photographs: bits per pixel,
fidelity, and what a classifier makes of them, clean and attacked. Attacks are on the classifier
alone. Reads the ImageNet sample from ``COMDEFEND_DATA``.
"""

import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import torch
from PIL import Image
from scipy.interpolate import PchipInterpolator
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure as ms_ssim,
)

from comdefend.classifiers import open_classifier
from comdefend.codec import compress, decompress
from comdefend.common.json_files import save_json
from comdefend.common.processor import Machine, this_machine
from comdefend.data.listing import Wanted
from comdefend.data.sources import load_image_set
from comdefend.nn.batches import apply
from comdefend.nn.metrics import peak_signal_noise_ratio
from tools.attacking import Attack, attacked

RECORD = Path(__file__).parent.parent / "docs" / "records" / "codec-rates.json"
DATA = "parquet:imagenet-sample"
CLASSIFIER = "efficientnet-lite0"
IMAGES, CROP = 100, 224
ATTACKS = tuple(Attack("bim", eps, 10) for eps in (4, 8))
OURS = {"photo": (1.0, 2.0), "photo-clean": (0.25, 0.5, 1.0, 2.0)}
OTHERS = {
    "JPEG": (5, 10, 15, 20, 25, 35, 50, 75),
    "WebP": (1, 10, 25, 50, 75),
    "AVIF": (5, 15, 25, 40, 55),
}
REFERENCE = "JPEG"

Coder = Callable[[Image.Image], tuple[int, Image.Image]]
"""An image to the bytes of its file, and what the file holds."""


class CodecRow(msgspec.Struct, frozen=True, kw_only=True):
    """One codec at one setting, over all images.

    Attributes:
        codec: Weights, or a format.
        setting: Bits of code per pixel of weights, quality of a format.
        bpp: Mean bits per pixel of whole files, headers included.
        psnr: Mean PSNR of clean images, in dB.
        ms_ssim: Their mean multi-scale structural similarity.
        clean: Accuracy of the classifier on what the files hold.
        attacked: The same of images attacked on the classifier alone, in the order of the attacks.
    """

    codec: str
    setting: float
    bpp: float
    psnr: float
    ms_ssim: float
    clean: float
    attacked: tuple[float, ...]


class CodecRates(Machine, frozen=True, kw_only=True):
    """What was measured.

    Attributes:
        classifier, data, images, crop: What it was measured with.
        clean: Accuracy on the images themselves.
        attacks: On the classifier alone.
        attacked: Accuracy under each, without any codec.
        rows: One for each codec and setting.
    """

    classifier: str
    data: str
    images: int
    crop: int
    clean: float
    attacks: tuple[Attack, ...]
    attacked: tuple[float, ...]
    rows: tuple[CodecRow, ...]


def measure() -> CodecRates:
    """Return the record."""
    data = load_image_set(DATA, "test", 3, Wanted(count=IMAGES, crop=CROP))
    classifier = open_classifier(CLASSIFIER)
    clean = data.images.float() / 255
    moved = [attacked(classifier, clean, data.labels, attack, 0) for attack in ATTACKS]
    versions = [data.images, *((images * 255).round().byte() for images in moved)]

    def right(images: Tensor) -> float:
        return (apply(classifier, images).argmax(1) == data.labels).float().mean().item()

    rows = []
    for codec, setting, coder in _coders():
        coded = [_coded(version, coder) for version in versions]
        (bits, rebuilt), *others = coded
        rows.append(
            CodecRow(
                codec=codec,
                setting=setting,
                bpp=bits / CROP**2,
                psnr=peak_signal_noise_ratio(rebuilt, clean).item(),
                ms_ssim=ms_ssim(rebuilt, clean, data_range=1.0).item(),
                clean=right(rebuilt),
                attacked=tuple(right(images) for _, images in others),
            )
        )
        print(rows[-1], flush=True)
    return CodecRates(
        **this_machine(),
        classifier=CLASSIFIER,
        data=DATA,
        images=len(data),
        crop=CROP,
        clean=right(clean),
        attacks=ATTACKS,
        attacked=tuple(right(images) for images in moved),
        rows=tuple(rows),
    )


def _coders() -> list[tuple[str, float, Coder]]:
    ours = [(name, bpp, _own(name, bpp)) for name, bpps in OURS.items() for bpp in bpps]
    formats = [(name, float(q), _format(name, q)) for name, qs in OTHERS.items() for q in qs]
    return [*ours, *formats]


def _own(weights: str, bpp: float) -> Coder:
    def coder(image: Image.Image) -> tuple[int, Image.Image]:
        data = compress(image, weights, bpp=bpp, engine="torch")
        return len(data), decompress(data, engine="torch")

    return coder


def _format(name: str, quality: int) -> Coder:
    # As much as each spends on small files in reasonable time.
    efforts: dict[str, dict[str, int]] = {
        "JPEG": {"optimize": True},
        "WebP": {"method": 6},
        "AVIF": {"speed": 4},
    }
    effort = efforts[name]

    def coder(image: Image.Image) -> tuple[int, Image.Image]:
        file = io.BytesIO()
        image.save(file, name, quality=quality, **effort)
        return file.tell(), Image.open(file).convert("RGB")

    return coder


def _coded(pixels: Tensor, coder: Coder) -> tuple[float, Tensor]:
    """Return the mean bits of the files of (N, 3, H, W) uint8 images, and what these hold."""
    files = [coder(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in pixels]
    rebuilt = np.stack([np.asarray(image) for _, image in files])
    bits = 8 * sum(size for size, _ in files) / len(files)
    return bits, torch.from_numpy(rebuilt).permute(0, 3, 1, 2).float() / 255


def rate_difference(rows: list[CodecRow], reference: list[CodecRow]) -> float:
    """Return how many more bits a codec takes than a reference at equal PSNR, as a share of 1.

    The Bjontegaard delta rate: the mean difference of the logarithms of the rates, between curves
    through the points (piecewise cubic, monotone), over the PSNR that both reach.

    Args:
        rows, reference: At least two settings each, of which one has more bits and more PSNR.

    Raises:
        ValueError: Their PSNR have no range in common.
    """
    curves = [
        PchipInterpolator([row.psnr for row in ordered], [np.log(row.bpp) for row in ordered])
        for ordered in (sorted(each, key=lambda row: row.psnr) for each in (rows, reference))
    ]
    low = max(curve.x[0] for curve in curves)
    high = min(curve.x[-1] for curve in curves)
    if low >= high:
        raise ValueError("the PSNR of the two have no range in common")
    own, other = (curve.integrate(low, high) / (high - low) for curve in curves)
    return float(np.exp(own - other) - 1)


if __name__ == "__main__":
    save_json(measure(), RECORD)
