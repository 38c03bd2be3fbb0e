import threading

import numpy as np
import pytest
import torch

import comdefend
from comdefend import zoo
from comdefend.codec.code import Code
from comdefend.codec.container import Container, Header, code_tiles
from comdefend.codec.parallel import map_tiles
from comdefend.codec.reading import read_code
from comdefend.codec.tables import shipped_tables
from comdefend.codec.writing import code_streams
from comdefend.errors import ImageError


@pytest.fixture(autouse=True)
def three_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(threads)


def test_tiles_meet_in_threads_and_stay_in_order():
    # Passes only if three are computed at once.
    barrier = threading.Barrier(3, timeout=60)

    def function(item):
        barrier.wait()
        return item * item

    assert map_tiles(function, range(6)) == [0, 1, 4, 9, 16, 25]
    assert map_tiles(str, []) == []


def test_the_first_error_is_raised():
    def function(item):
        raise ImageError(str(item))

    with pytest.raises(ImageError, match="0"):
        map_tiles(function, range(5))


def test_a_code_of_several_tiles_comes_back_bit_for_bit():
    config = comdefend.load("gray-2bpp-robust").config
    tables = shipped_tables(zoo.checksum("gray-2bpp-robust"), config)
    size, everything = (258, 300), (slice(None), slice(None))
    bits = np.random.default_rng(0).integers(0, 2, (config.code_maps, *size), np.uint8)
    code = Code(config.code_maps, size)
    code.write(0, *everything, bits)
    header = Header(
        width=600, height=516, channels=1, alpha=False, profile=False, weights="x",
        weights_digest=bytes(8), tables_digest=tables.digest, downscale=2, reduction=1,
        value_bits=1, rates=(2, config.code_maps),
    )  # fmt: skip
    assert header.code_size == size
    streams = code_streams(code, header, tables)
    assert [len(rate) for rate in streams] == [len(list(code_tiles(size)))] * 2 == [4, 4]
    back = read_code(Container(header, b"", b"", streams), tables)
    assert (back.read(config.code_maps, *everything) == bits).all()
