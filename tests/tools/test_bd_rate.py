import pytest

from tools.bd_rate import at_rate, first_rate, rate_difference

CURVE = [(0.5, 25), (1, 28), (2, 32)]


def test_twice_the_bits_at_equal_fidelity_are_100_percent_more():
    twice = [(2 * bpp, psnr) for bpp, psnr in CURVE]
    assert rate_difference(twice, CURVE) == pytest.approx(1)
    assert rate_difference(CURVE, twice) == pytest.approx(-0.5)


def test_only_what_both_reach_counts():
    # Equal below 28 dB, which is all that it reaches.
    assert rate_difference(CURVE[:2], CURVE) == pytest.approx(0, abs=0.05)
    with pytest.raises(ValueError, match="no fidelity in common"):
        rate_difference([(1, 40), (2, 41)], CURVE)


def test_bits_that_bring_nothing_cannot_be_compared():
    with pytest.raises(ValueError, match="more fidelity"):
        rate_difference([(1, 26), (2, 25.9)], CURVE)


def test_fidelity_at_a_rate_lies_between_the_points():
    assert at_rate(CURVE, 1) == 28
    # Half way on the logarithmic scale.
    assert at_rate(CURVE, 2**0.5) == pytest.approx(30)
    assert at_rate(CURVE, 0.4) is None
    assert at_rate(CURVE, 2.1) is None


def test_the_rate_of_a_fidelity_is_the_first_that_reaches_it():
    assert first_rate(CURVE, 28) == 1
    assert first_rate(CURVE, 30) == pytest.approx(2**0.5)
    assert first_rate(CURVE, 20) == 0.5
    assert first_rate(CURVE, 33) is None
    assert first_rate([(1, 25), (2, 24), (4, 26)], 26) == 4
