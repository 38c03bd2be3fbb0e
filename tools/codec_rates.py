"""Record how many bytes fidelity costs: ``python -m tools.codec_rates``.

Whole files of the codec beside other formats, on scikit-image's photographs, on photographs held
out of training, and on CIFAR-10. Reads the last two from ``COMDEFEND_DATA``. What these were stored
as JPEG files in is cut off the grid of its blocks, which would otherwise favour JPEG.
"""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import skimage.data
import torch
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure as ms_ssim,
)

from comdefend.common.json_files import save_json
from comdefend.common.processor import Machine, this_machine
from comdefend.data.image_files import read_named
from comdefend.data.listing import Wanted
from comdefend.data.sources import load_image_set, load_training_images
from comdefend.nn.metrics import peak_signal_noise_ratio
from tools.image_codecs import FORMATS, ImageCodec, format_codecs, own_codecs, versions

RECORD = Path(__file__).parent.parent / "docs" / "records" / "codec-rates.json"
SKIMAGE = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
HELD_OUT = "photos/val"
PHOTOGRAPHS, SMALL = 40, 200
"""How many of them, and of CIFAR-10, drawn with seed 0."""
OFF_GRID = 3
"""Rows and columns that are cut off."""

OF_PHOTOGRAPHS = {
    "photo": (1.0, 2.0),
    "photo-guided": (1.0, 2.0),
    "photo-clean": (0.25, 0.5, 1.0, 2.0),
}
OF_SMALL = {
    "rgb-variable": (0.5, 1.0, 2.0, 3.0, 6.0, 12.0),
    "rgb-12bpp": (12.0,),
    "rgb-12bpp-lite": (12.0,),
    "rgb-12bpp-adversarial": (12.0,),
    "rgb-3bpp-robust": (3.0,),
    "rgb-3bpp-denoising": (1.0, 3.0),
}
QUALITIES = {
    "JPEG": (5, 10, 20, 35, 50, 65, 80),
    "mozjpeg": (5, 10, 20, 35, 50, 70),
    "WebP": (1, 15, 40, 65, 85),
    "AVIF": (5, 20, 40, 55, 70),
    "JPEG XL": (5, 25, 50, 70, 85),
}
_MS_SSIM_SIDE = 161
"""Smaller images have no five scales."""


class RatePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One codec at one setting: means over images.

    Attributes:
        codec: Weights, or a format.
        setting: Bits of code per pixel of weights, quality of a format.
        bpp: Bits per pixel of whole files, headers included.
        psnr: PSNR in dB.
        ms_ssim: Multi-scale structural similarity; None where images are too small for it.
    """

    codec: str
    setting: float
    bpp: float
    psnr: float
    ms_ssim: float | None


class RateSet(msgspec.Struct, frozen=True, kw_only=True):
    """All codecs on some images.

    Attributes:
        data: What the images are.
        images: How many.
        size: Height and width, the median over images.
        flat: Format -> bytes of the file of a grey image of that size: hardly more than headers.
        points: One for each codec and setting.
    """

    data: str
    images: int
    size: tuple[int, int]
    flat: dict[str, int]
    points: tuple[RatePoint, ...]


class CodecRates(Machine, frozen=True, kw_only=True):
    """What was measured."""

    sets: tuple[RateSet, ...]


def measure() -> CodecRates:
    """Return the record."""
    photographs = [*own_codecs(OF_PHOTOGRAPHS), *format_codecs(QUALITIES)]
    small = [*own_codecs(OF_SMALL), *format_codecs(QUALITIES)]
    return CodecRates(
        **this_machine(*versions()),
        sets=(
            _measured("scikit-image", _of_skimage, photographs),
            _measured(HELD_OUT, partial(held_out, PHOTOGRAPHS), photographs),
            _measured("cifar10", _cifar10, small),
        ),
    )


def _of_skimage() -> list[Image.Image]:
    folder = Path(skimage.data.__file__).parent
    return [_off_grid(read_named(folder / name).image) for name in SKIMAGE]


def held_out(count: int) -> list[Image.Image]:
    """Return photographs that no purifier was trained on, drawn with seed 0."""
    paths = load_training_images(f"folder:{HELD_OUT}", 3)
    assert not isinstance(paths, Tensor)
    drawn = Wanted(count=count).order(len(paths))
    return [_off_grid(read_named(paths[place]).image) for place in drawn]


def _cifar10() -> list[Image.Image]:
    images = load_image_set("cifar10", "test", 3, Wanted(count=SMALL)).images
    return [_off_grid(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images]


def _off_grid(image: Image.Image) -> Image.Image:
    return image.convert("RGB").crop((OFF_GRID, OFF_GRID, *image.size))


def _measured(
    data: str, load: Callable[[], list[Image.Image]], codecs: Sequence[ImageCodec]
) -> RateSet:
    images = load()
    size = tuple(
        int(statistics.median(side)) for side in zip(*(i.size[::-1] for i in images), strict=True)
    )
    height, width = size
    flat = Image.new("RGB", (width, height), (128, 128, 128))
    points = []
    for codec in codecs:
        points.append(rate_point(codec, images))
        print(data, points[-1], flush=True)
    return RateSet(
        data=data,
        images=len(images),
        size=(height, width),
        flat={codec.name: len(codec.encode(flat)) for codec in codecs if codec.name in FORMATS},
        points=tuple(points),
    )


def rate_point(codec: ImageCodec, images: Sequence[Image.Image]) -> RatePoint:
    """Return what RGB images cost and keep as files of a codec."""
    rates, psnrs, similarities = [], [], []
    for image in images:
        data = codec.encode(image)
        rates.append(8 * len(data) / (image.width * image.height))
        rebuilt, original = (_floats(each) for each in (codec.decode(data), image))
        psnrs.append(peak_signal_noise_ratio(rebuilt, original).item())
        if min(image.size) >= _MS_SSIM_SIDE:
            similarities.append(ms_ssim(rebuilt, original, data_range=1.0).item())
    return RatePoint(
        codec=codec.name,
        setting=codec.setting,
        bpp=statistics.fmean(rates),
        psnr=statistics.fmean(psnrs),
        ms_ssim=statistics.fmean(similarities) if len(similarities) == len(images) else None,
    )


def _floats(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0).float() / 255


if __name__ == "__main__":
    save_json(measure(), RECORD)
