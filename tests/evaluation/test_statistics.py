import pytest

from comdefend.evaluation.record import Row
from comdefend.evaluation.statistics import (
    compare,
    mcnemar,
    share_of,
    survivors,
    wilson_interval,
    worst_case,
)


def row(correct, accuracy=None):
    hits = correct.count("1") / len(correct) if accuracy is None else accuracy
    return Row(
        defense="x", threat="oblivious", images=len(correct) or 4, accuracy=hits,
        interval=(0.1, 0.9), correct=correct,
    )  # fmt: skip


def test_wilson_interval_against_published_values():
    # Brown, Cai and DasGupta 2001 give the formula; these are its values to four digits.
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    for hits in range(51):
        low, high = wilson_interval(hits, 50)
        assert 0 <= low <= hits / 50 <= high <= 1


def test_mcnemar_is_the_binomial_test_on_what_changed():
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1
    # Ten heads in a row, or ten tails.
    assert mcnemar(10, 0) == mcnemar(0, 10) == 2 / 2**10
    # (1 + 12) * 2 / 2^12
    assert mcnemar(11, 1) == pytest.approx(0.006348, abs=1e-6)


def test_what_survives_all_attacks():
    assert survivors([row("1101"), row("0111")]) == "0101"
    # Attacks on fewer images were made on the first ones.
    assert survivors([row("1101"), row("01")]) == "01"
    assert survivors([]) is None
    assert survivors([row("1"), row("", 0.5)]) is None


def test_the_worst_case_is_taken_image_by_image():
    assert worst_case([row("1100"), row("0011")]) == share_of("0000")
    assert worst_case([]) is None
    # Without verdicts the lowest row stands for all.
    lowest = worst_case([row("", 0.5), row("1111")])
    assert (lowest.accuracy, lowest.low, lowest.images) == (0.5, 0.1, 4)


def test_two_groups_of_attacks_are_compared_on_the_same_images():
    found = compare([row("1100")], [row("1010"), row("1111")])
    assert (found.before, found.after, found.lost, found.won, found.images) == (2, 2, 1, 1, 4)
    assert found.p_value == 1
    with pytest.raises(ValueError, match="same images"):
        compare([row("11")], [row("111")])
