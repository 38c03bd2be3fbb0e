"""Fixed files, and the code that each of them holds, on every machine and in every version.

``python -m tests.codec.test_vectors`` writes them anew, which only a new version of the format, or
of the weights or tables, should need.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

import comdefend
from comdefend.codec.container import Container, read_container, write_container
from comdefend.codec.reading import read_code
from comdefend.codec.tables import shipped_tables
from comdefend.zoo import checksum

VECTORS = Path(__file__).parent / "vectors"
# The SHA-256 of the code: all maps, row by row, eight bits to a byte, the first bit the highest.
CODES = {
    "photo": "1cd4efbf38a27c69d94bf3a5059634d4b6aa1d2250e9b9247447970773ba129a",
    "grey-alpha": "4270f7104cafa854d415c7dff68e7a42d1f6ea5d5523b6041ab15ad0226b5965",
    "raw": "cfc38c7ba0c4007de5937b8e3cdf3f433b4fe9ed477186d41390cfaf5ce3daa7",
}


def bits_of(data):
    """The code of a file, (maps, height, width)."""
    container = read_container(data)
    name = container.header.weights
    tables = shipped_tables(checksum(name), comdefend.load(name).config)
    return read_code(container, tables).read(container.header.rates[-1], slice(None), slice(None))


def digest(bits):
    return hashlib.sha256(np.packbits(bits).tobytes()).hexdigest()


@pytest.mark.parametrize("name", CODES)
def test_a_fixed_file_holds_the_code_that_it_always_held(name):
    assert digest(bits_of((VECTORS / f"{name}.comd").read_bytes())) == CODES[name]


@pytest.mark.parametrize("name", CODES)
def test_a_fixed_file_is_rebuilt(name):
    image = comdefend.decompress((VECTORS / f"{name}.comd").read_bytes())
    with Image.open(VECTORS / f"{name}.png") as expected:
        assert (image.mode, image.size) == (expected.mode, expected.size)
        difference = np.asarray(image).astype(int) - np.asarray(expected)
    # The code is the same; floats are rounded in another order.
    assert np.abs(difference).max() <= 1


def write_vectors():
    import skimage.data

    with Image.open(Path(skimage.data.__file__).parent / "chelsea.png") as file:
        eyes = file.convert("RGB").crop((160, 80, 221, 123))
    grey = eyes.convert("LA")
    grey.putalpha(Image.linear_gradient("L").resize(eyes.size))
    raw = read_container(comdefend.compress(eyes, "rgb-3bpp-robust"))
    header = replace(raw.header, tables_digest=bytes(8))
    bits = bits_of(write_container(raw))
    files = {
        "photo": comdefend.compress(eyes),
        "grey-alpha": comdefend.compress(grey, "gray-2bpp-robust"),
        "raw": write_container(
            Container(header, raw.profile, b"", ((np.packbits(bits).tobytes(),),))
        ),
    }
    VECTORS.mkdir(exist_ok=True)
    for name, data in files.items():
        (VECTORS / f"{name}.comd").write_bytes(data)
        comdefend.decompress(data).save(VECTORS / f"{name}.png", icc_profile=None)
        print(f'    "{name}": "{digest(bits_of(data))}",')


if __name__ == "__main__":
    write_vectors()
