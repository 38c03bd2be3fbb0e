"""Record what entropy coding saves and costs: ``python -m tools.entropy_coding``.

For every shipped purifier: bits of code per pixel before and after, and the bound that the
probability tables set, on test images of the kind that it was trained for; and how long networks
and entropy coder take on a photograph. Reads data sets from ``COMDEFEND_DATA``.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from comdefend import zoo
from comdefend.codec.code import decode_image, encode_image
from comdefend.codec.codec import Codec, open_codec
from comdefend.codec.container import Container, read_container
from comdefend.codec.contexts import Contexts
from comdefend.codec.levels import to_levels
from comdefend.codec.reading import read_code
from comdefend.codec.tables import TOTAL
from comdefend.codec.writing import code_streams, compress_image
from comdefend.common.json_files import save_json
from comdefend.common.processor import Timed, this_machine
from comdefend.data.image import ImageCanvas, ReadImage
from comdefend.data.listing import Wanted
from comdefend.data.shipped import image_crops
from comdefend.data.sources import load_image_set
from tools.codec_rates import HELD_OUT, held_out

RECORD = Path(__file__).parent.parent / "docs" / "records" / "entropy-coding.json"
IMAGES, ROUNDS, ENGINE = 40, 3, "torch"
LARGE, SMALL = (1024, 1024), (256, 256)
"""Height and width of the photograph that is timed, for purifiers of photographs and for others."""

_Result = TypeVar("_Result")


class CodedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One purifier, at its highest rate.

    Attributes:
        weights: Its name.
        data: The images, and ``images`` of them.
        code: Bits of code per pixel.
        bound: Bits per pixel that the probability tables say it takes.
        stored: Bits per pixel of its parts, without header and lengths.
        size: Height and width of the photograph that is timed.
        encoder, coding: Seconds of processor time, over all threads, of the network and of the
            entropy coder, on the way there.
        decoding, decoder: The same of entropy coder and network, on the way back.
    """

    weights: str
    data: str
    images: int
    code: float
    bound: float
    stored: float
    size: tuple[int, int]
    encoder: float
    coding: float
    decoding: float
    decoder: float


class EntropyCoding(Timed, frozen=True, kw_only=True):
    """What was measured; seconds are medians.

    Attributes:
        engine: What computes the networks.
        rows: One for each purifier.
    """

    engine: str
    rows: tuple[CodedRow, ...]


def measure() -> EntropyCoding:
    """Return the record."""
    rows = []
    for name in zoo.weights():
        codec = open_codec(name, engine=ENGINE)
        rows.append(_row(name, codec))
        print(rows[-1], flush=True)
    return EntropyCoding(
        **this_machine("constriction"),
        threads=torch.get_num_threads(),
        engine=ENGINE,
        rows=tuple(rows),
    )


def _row(name: str, codec: Codec) -> CodedRow:
    data, images = _images(name, codec.config.channels)
    pixels = sum(image.width * image.height for image in images)
    bounds, stored, bits = 0.0, 0, 0
    for image in images:
        container = read_container(compress_image(ReadImage(image), codec)[0])
        stored += 8 * sum(len(stream) for rate in container.streams for stream in rate)
        bits += codec.config.code_maps * int(np.prod(container.header.code_size))
        bounds += _bound(container, codec)
    size = LARGE if data == HELD_OUT else SMALL
    encoder, coding, decoding, decoder = _seconds(codec, size)
    return CodedRow(
        weights=name,
        data=data,
        images=len(images),
        code=bits / pixels,
        bound=bounds / pixels,
        stored=stored / pixels,
        size=size,
        encoder=encoder,
        coding=coding,
        decoding=decoding,
        decoder=decoder,
    )


def _images(name: str, channels: int) -> tuple[str, list[Image.Image]]:
    data = zoo.load_record(name)["recipe"]["data"]
    if data.startswith("folder:"):
        return HELD_OUT, held_out(IMAGES)
    arrays = load_image_set(data, "test", channels, Wanted(count=IMAGES)).images
    return data, [_image(array) for array in arrays]


def _image(array: Tensor) -> Image.Image:
    pixels = array.permute(1, 2, 0).numpy()
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])


def _bound(container: Container, codec: Codec) -> float:
    """Return the bits that the tables say the code takes: minus the logarithms of its chances."""
    assert codec.tables is not None
    height, width = container.header.code_size
    everything = slice(0, height), slice(0, width)
    bits = read_code(container, codec.tables).read(codec.config.code_maps, *everything)
    contexts, total = Contexts(codec.tables, height, width), 0.0
    for value in to_levels(bits, codec.config.value_bits):
        for parity in range(2):
            rows = contexts.rows(parity, value)
            chosen = codec.tables.distributions[rows, value[parity::2].reshape(-1)]
            total -= float(np.log2(chosen / TOTAL).sum())
        contexts.add(value)
    return total


def _seconds(codec: Codec, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return what encoder, entropy coder there and back, and decoder take."""
    channels = codec.config.channels
    image = _image(image_crops(3, 1, *size)[0]).convert("RGB" if channels == 3 else "L")
    header = read_container(compress_image(ReadImage(image), codec)[0]).header
    encoder, code = _timed(partial(encode_image, codec.engine, _canvas(image, channels)))
    coding, streams = _timed(partial(code_streams, code, header, codec.tables))
    container = Container(header, b"", b"", streams)
    decoding, code = _timed(partial(read_code, container, codec.tables))
    decoder, _ = _timed(partial(decode_image, codec.engine, code, _canvas(image, channels)))
    return encoder, coding, decoding, decoder


def _canvas(image: Image.Image, channels: int) -> ImageCanvas:
    return ImageCanvas(ReadImage(image.copy()), channels)


def _timed(function: Callable[[], _Result]) -> tuple[float, _Result]:
    """Return the median processor time of a few calls, and what the last one returned."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        result = function()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds), result


if __name__ == "__main__":
    save_json(measure(), RECORD)
