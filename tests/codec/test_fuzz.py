"""Mutated files: each is an image, or one line that says why not."""

import time
import warnings
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from PIL import Image

import comdefend
from comdefend.bench.worker import _peak, _reset_peak
from comdefend.codec import info
from comdefend.codec.container import Container, read_container, write_container
from comdefend.errors import ComdefendError
from tests.codec.mutations import generator, mutated

LIMIT = 0.002
"""Megapixels: what a header may ask for here."""
SECONDS, MEGABYTES = 5, 100
"""What a file may take of the processor, and all of them of memory."""


@pytest.fixture(scope="module")
def files(chelsea):
    """Small files of each kind: Gray code and single bits, grey, alpha and profile, no tables.

    Most are of so few places that decoding any takes a millisecond.
    """
    eye = chelsea.crop((190, 100, 206, 112))
    with_alpha = eye.crop((0, 0, 9, 7)).convert("RGBA")
    with_alpha.putalpha(Image.linear_gradient("L").resize(with_alpha.size))
    with_alpha.info["icc_profile"] = b"profile" * 20
    few = eye.crop((0, 0, 6, 5))
    return [
        comdefend.compress(eye),
        comdefend.compress(with_alpha),
        *(comdefend.compress(few.convert("L"), "gray-2bpp-robust") for _ in range(3)),
        *(comdefend.compress(few, "rgb-3bpp-robust") for _ in range(3)),
        *(without_tables(comdefend.compress(few, "rgb-3bpp-robust")) for _ in range(3)),
        without_tables(comdefend.compress(few)),
    ]


def without_tables(data):
    """A file of the same size whose code, of zeros, is stored as it is."""
    container = read_container(data)
    header = replace(container.header, tables_digest=bytes(8))
    steps = [b - a for a, b in zip((0, *header.rates), header.rates, strict=False)]
    height, width = header.code_size
    streams = tuple((bytes(-(-maps * height * width // 8)),) for maps in steps)
    return write_container(Container(header, container.profile, container.alpha, streams))


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def decompress(data):
    return comdefend.decompress(data, max_megapixels=LIMIT, engine="torch")


def outcome(function, data):
    """What a function returns, or what its error says; any other error fails the test."""
    try:
        return function(data)
    except ComdefendError as error:
        return str(error)


@pytest.mark.parametrize(
    "count",
    [3000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(4 * 3600)])],
)
@pytest.mark.usefixtures("one_thread")
def test_mutated_files_are_images_or_one_line(files, count):
    rng = generator(count)
    # Opens every network once, so that what follows is what files take.
    for data in files:
        assert isinstance(decompress(data), Image.Image)
    _reset_peak()
    before, rebuilt, slowest = _peak(), 0, 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(count):
            data = mutated(files[number % len(files)], rng)
            started = time.process_time()
            image = outcome(decompress, data)
            outcome(info, data)
            slowest = max(slowest, time.process_time() - started)
            if number % 50_000 == 49_999:
                print(f"{number + 1} files, {rebuilt} images", flush=True)
            assert slowest < SECONDS, data.hex()
            if isinstance(image, Image.Image):
                rebuilt += 1
                assert image.width * image.height <= LIMIT * 1e6, data.hex()
            else:
                assert image, data.hex()
                assert "\n" not in image, data.hex()
    # Both outcomes are tested: streams of any bytes tell some code more often than not.
    assert count // 20 < rebuilt < count // 2
    if Path("/proc/self/clear_refs").exists():
        assert _peak() - before < MEGABYTES
    print(f"{count} files, {rebuilt} images, {slowest:.2f} s, {_peak() - before:.0f} MB")
