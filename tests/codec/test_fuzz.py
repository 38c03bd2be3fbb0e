"""Mutated files: each is an image, or one line that says why not."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

import comdefend
from comdefend.codec import info
from comdefend.codec.container import read_header
from comdefend.errors import ComdefendError

LIMIT = 0.01
"""Megapixels: what a header may ask for here."""


@pytest.fixture(scope="module")
def files(chelsea):
    """Small files of each kind: Gray code and single bits, grey, alpha and profile, no tables."""
    eye = chelsea.crop((190, 100, 206, 112))
    with_alpha = eye.convert("RGBA")
    with_alpha.putalpha(Image.linear_gradient("L").resize(eye.size))
    with_alpha.info["icc_profile"] = b"profile" * 20
    return [
        comdefend.compress(eye),
        comdefend.compress(with_alpha),
        comdefend.compress(eye.convert("L"), "gray-2bpp-robust"),
        comdefend.compress(eye, "rgb-3bpp-robust"),
    ]


def sealed(data):
    """The file with a checksum that fits its header, as far as it can be told where that ends."""
    if len(data) < 44:
        return data
    end = 40 + data[39] + 2 * data[22]
    return data[:end] + struct.pack("<I", zlib.crc32(data[:end])) + data[end + 4 :]


def parts(data):
    """Where the parts of a sound file begin."""
    header = read_header(data)
    at = 44 + len(header.weights) + 2 * len(header.rates)
    while at < len(data):
        yield at
        at += 8 + struct.unpack_from("<I", data, at)[0]


def mutated(data, rng):
    """A file with one thing wrong, or several, half of them under checksums that fit."""
    found = bytearray(data)
    kind = rng.integers(0, 7)
    if kind == 0:  # a few bits anywhere
        for at in rng.integers(0, len(found), rng.integers(1, 4)):
            found[at] ^= 1 << int(rng.integers(0, 8))
    elif kind == 1:  # the end is missing
        del found[rng.integers(0, len(found)) :]
    elif kind == 2:  # a stretch is doubled, moved or left out
        start, end = sorted(rng.integers(0, len(found), 2).tolist())
        found[start:end] = found[start:end] * int(rng.integers(0, 3))
    elif kind == 3:  # a field of the header, most of all with extreme values
        at = int(rng.integers(8, 50))
        extreme = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        found[at : at + int(rng.integers(1, 5))] = bytes([extreme]) * int(rng.integers(1, 5))
        return sealed(bytes(found))
    elif kind == 4:  # sizes that are large and sizes that are near
        field = struct.Struct("<I")
        for at in (9, 13):
            size = rng.choice([0, 1, 7, 8, 9, 17, 90, 2**16, 2**31, 2**32 - 1])
            if rng.random() < 0.7:
                field.pack_into(found, at, int(size))
        return sealed(bytes(found))
    else:  # a part: its length, or its bytes under a checksum that fits
        starts = list(parts(data))
        at = starts[rng.integers(0, len(starts))]
        length = struct.unpack_from("<I", found, at)[0]
        if kind == 5:
            struct.pack_into("<I", found, at, int(rng.choice([0, length + 4, 2**32 - 1, 8])))
            return bytes(found)
        part = bytearray(found[at + 8 : at + 8 + length])
        if len(part) and rng.random() < 0.7:
            part[rng.integers(0, len(part))] ^= 1 << int(rng.integers(0, 8))
        else:
            part = bytearray(rng.bytes(int(rng.integers(0, length + 1)) & ~3))
        found[at : at + 8 + length] = struct.pack("<II", len(part), zlib.crc32(part)) + part
    return bytes(found)


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
def test_mutated_files_are_images_or_one_line(files, count):
    rng = np.random.default_rng(count)
    rebuilt = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(count):
            data = mutated(files[number % len(files)], rng)
            image = outcome(decompress, data)
            outcome(info, data)
            if isinstance(image, Image.Image):
                rebuilt += 1
                assert image.width * image.height <= LIMIT * 1e6, data.hex()
            else:
                assert "\n" not in image, data.hex()
    # Both outcomes are tested: streams of any bytes tell some code more often than not.
    assert count // 20 < rebuilt < count // 2
