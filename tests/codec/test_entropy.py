import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comdefend.codec.contexts import Contexts
from comdefend.codec.entropy import pack, unpack
from comdefend.codec.learning import learn_tables
from comdefend.codec.levels import to_bits, to_levels
from comdefend.codec.tables import TOTAL
from comdefend.errors import ImageError

MAPS, VALUE_BITS = 12, 2


def smooth_code(seed, height, width):
    """A code whose values follow each other and their neighbours, as those of images do."""
    rng = np.random.default_rng(seed)
    field = rng.normal(size=(1, height, width)).cumsum(1).cumsum(2) / 4
    values = field + rng.normal(size=(MAPS // VALUE_BITS, height, width)) / 2
    return to_bits(np.clip(values + 2, 0, 3).astype(np.uint8), VALUE_BITS)


@pytest.fixture(scope="module")
def tables():
    codes = [to_levels(smooth_code(seed, 24, 20), VALUE_BITS) for seed in range(8)]
    return learn_tables(codes, 2**VALUE_BITS)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000), height=st.integers(1, 9), width=st.integers(1, 9),
    known=st.sampled_from([0, 2, 6, 10]), noise=st.booleans(),
)  # fmt: skip
def test_codes_come_back_bit_for_bit(tables, seed, height, width, known, noise):
    bits = smooth_code(seed, height, width)
    if noise:
        bits = np.random.default_rng(seed).integers(0, 2, bits.shape, np.uint8)
    for with_tables in (tables, None):
        data = pack(bits, known, VALUE_BITS, with_tables)
        assert len(data) <= -(-bits[known:].size // 8)
        back = unpack(data, bits[:known], MAPS, VALUE_BITS, with_tables)
        assert (back == bits[known:]).all()


def test_what_tables_tell_is_shorter_by_what_information_theory_says(tables):
    bits = smooth_code(100, 64, 64)
    levels, contexts = to_levels(bits, VALUE_BITS), Contexts(tables, 64, 64)
    ideal = 0.0
    for value in levels:
        for parity in range(2):
            rows = contexts.rows(parity, value)
            shares = tables.distributions[rows, value[parity::2].reshape(-1)] / TOTAL
            ideal -= np.log2(shares).sum()
        contexts.add(value)
    coded = 8 * len(pack(bits, 0, VALUE_BITS, tables))
    assert ideal <= coded < 1.001 * ideal + 64
    assert coded < 0.8 * bits.size


def test_another_implementation_reads_a_stream(tables):
    """In whole numbers of Python alone, as the document describes the range coder."""
    bits = smooth_code(7, 6, 5)
    data = pack(bits, 0, VALUE_BITS, tables)
    assert len(data) < bits.size // 8
    words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
    words += [0] * 100
    lower, span, point = 0, 2**64 - 1, words.pop(0) << 32 | words.pop(0)
    levels, contexts = to_levels(bits, VALUE_BITS), Contexts(tables, 6, 5)
    for value in levels:
        for parity in range(2):
            decoded = []
            for row in contexts.rows(parity, value):
                frequencies = tables.frequencies.reshape(-1, 4)[row].tolist()
                sums = [sum(frequencies[:level]) for level in range(5)]
                starts = [s * (2**24 - 4) // TOTAL + k for k, s in enumerate(sums)]
                starts[-1] = 2**24
                scale = span >> 24
                quantile = (point - lower) % 2**64 // scale
                level = max(k for k in range(4) if starts[k] <= quantile)
                lower = (lower + scale * starts[level]) % 2**64
                span = scale * (starts[level + 1] - starts[level])
                if span < 2**32:
                    lower, span = lower << 32 & (2**64 - 1), span << 32
                    point = (point << 32 & (2**64 - 1)) | words.pop(0)
                decoded.append(level)
            assert decoded == value[parity::2].reshape(-1).tolist()
        contexts.add(value)


def test_contexts_depend_on_nothing_that_is_coded_later(tables):
    levels = to_levels(smooth_code(3, 7, 6), VALUE_BITS)
    contexts = Contexts(tables, 7, 6)
    for value in levels[:3]:
        contexts.add(value)
    odd_changed, any_changed = levels[3].copy(), 3 - levels[3]
    odd_changed[1::2] = 3 - odd_changed[1::2]
    assert (contexts.rows(0, levels[3]) == contexts.rows(0, any_changed)).all()
    assert (contexts.rows(1, levels[3]) == contexts.rows(1, odd_changed)).all()
    # They do depend on the even rows.
    assert (contexts.rows(1, levels[3]) != contexts.rows(1, any_changed)).any()


def test_predictions_are_the_written_sums_beside_and_at_the_borders(tables):
    levels = to_levels(smooth_code(4, 5, 4), VALUE_BITS).astype(int)
    signed = np.pad(2 * levels - 3, ((0, 0), (1, 1), (1, 1)))
    contexts = Contexts(tables, 5, 4)
    for number, value in enumerate(levels.astype(np.uint8)):
        for parity in range(2):
            predictions, activity = contexts.signals(parity, value)
            expected = []
            for row in range(parity, 5, 2):
                for column in range(4):
                    y, x = row + 1, column + 1
                    around = [(y, x), (y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)]
                    sum_ = int(tables.bias[number, parity])
                    for place, at in enumerate(around):
                        for before in range(number):
                            weight = int(tables.weights[number, parity, place, before])
                            sum_ += weight * int(signed[before][at])
                    if parity == 1:
                        plane = signed[number]
                        for weight, own in zip(
                            tables.own[number].tolist(),
                            (
                                plane[y - 1, x] + plane[y + 1, x],
                                plane[[y - 1, y - 1, y + 1, y + 1], [x - 1, x + 1] * 2].sum(),
                            ),
                            strict=True,
                        ):
                            sum_ += weight * int(own)
                    expected.append(sum_)
            assert predictions.tolist() == expected
            assert (activity >= 0).all()
        contexts.add(value)


def test_streams_that_tell_no_code_are_refused(tables):
    none = np.zeros((0, 8, 8), np.uint8)
    with pytest.raises(ImageError, match="too short"):
        unpack(b"abc", none, MAPS, VALUE_BITS, tables)
    with pytest.raises(ImageError, match="too short"):
        unpack(b"abcd", none, MAPS, VALUE_BITS, None)
    refused = 0
    rng = np.random.default_rng(0)
    for length in range(0, 64, 4):
        data = rng.bytes(length)
        try:
            bits = unpack(data, none, MAPS, VALUE_BITS, tables)
        except ImageError as error:
            refused += "tells no code" in str(error)
        else:
            assert bits.shape == (MAPS, 8, 8)
            assert bits.max() <= 1
    assert refused < 16
