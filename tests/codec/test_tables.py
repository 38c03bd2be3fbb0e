import numpy as np
import pytest

import comdefend
from comdefend.codec.codec import open_codec
from comdefend.codec.learning import learn_tables
from comdefend.codec.tables import TOTAL, read_tables, save_tables, shipped_tables
from comdefend.errors import WeightsError
from comdefend.nn.config import PurifierConfig
from comdefend.zoo import checksum

CONFIG = PurifierConfig(code_maps=6, value_bits=2)


@pytest.fixture
def tables():
    rng = np.random.default_rng(0)
    return learn_tables([rng.integers(0, 4, (3, 8, 9), np.uint8) for _ in range(4)], 4)


def test_tables_are_read_as_they_were_written(tables, tmp_path):
    save_tables(tmp_path / "x.safetensors", tables, "0" * 64, {})
    back = read_tables(tmp_path / "x.safetensors", CONFIG)
    assert back.digest == tables.digest
    assert (back.frequencies == tables.frequencies).all()


def test_the_digest_depends_on_every_table(tables):
    digests = {tables.digest}
    for name in ("weights", "own", "bias", "edges", "scales", "frequencies"):
        arrays = {n: getattr(tables, n).copy() for n in tables.__dataclass_fields__}
        arrays[name].reshape(-1)[-1] ^= 1
        digests.add(type(tables)(**arrays).digest)
    assert len(digests) == 7


def test_every_level_can_occur_and_all_of_them_do(tables):
    assert tables.frequencies.min() > 0
    assert (tables.frequencies.sum(2, dtype=int) == TOTAL).all()


@pytest.mark.parametrize("weights", comdefend.weights())
def test_shipped_tables_fit_their_weights_and_take_kilobytes(weights):
    config = comdefend.load(weights).config
    tables = shipped_tables(checksum(weights), config)
    assert tables is not None
    assert tables.levels == 2**config.value_bits
    assert sum(getattr(tables, name).nbytes for name in tables.__dataclass_fields__) < 100_000


def test_other_weights_have_none():
    assert shipped_tables("0" * 64, CONFIG) is None
    assert open_codec("photo", engine="torch").tables is not None


def test_tables_that_are_damaged_or_of_other_weights_are_refused(tables, tmp_path):
    path = tmp_path / "x.safetensors"
    save_tables(path, tables, "0" * 64, {})
    with pytest.raises(WeightsError, match="do not fit"):
        read_tables(path, PurifierConfig(code_maps=8, value_bits=2))
    tables.frequencies[0, 0, 0] += 1
    save_tables(path, tables, "0" * 64, {})
    with pytest.raises(WeightsError, match="no probability tables"):
        read_tables(path, CONFIG)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="corrupt"):
        read_tables(path, CONFIG)
