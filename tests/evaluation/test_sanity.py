import pytest
import torch

from comdefend.evaluation.record import Row
from comdefend.evaluation.sanity import (
    Left,
    check_attacks,
    check_clean,
    check_queries,
    check_range,
    other_ranges,
)

SOUND = {
    "images": 32,
    "eps": 8,
    "unbounded": 0,
    "few": 5,
    "many": 3,
    "oblivious": 20,
    "standing": "",
}


def passed(**changes):
    return [check.passed for check in check_attacks(Left(**{**SOUND, **changes}))]


def test_sound_attacks_pass():
    assert passed() == [True, True, True]


def test_what_does_not_hold_is_said():
    assert passed(unbounded=1) == [False, True, True]
    assert passed(many=6) == [True, False, True]
    assert passed(oblivious=2) == [True, True, False]
    details = [check.detail for check in check_attacks(Left(**{**SOUND, "oblivious": 2}))]
    assert "adaptive leaves 3 of 32 images, oblivious 2" in details[2]


def queried(query, standing, eps=8, images=4):
    row = Row(
        defense="x", threat="query", attack="square", eps=8, images=len(query), correct=query,
        accuracy=0.5, interval=(0, 1),
    )  # fmt: skip
    left = Left(**{**SOUND, "images": images, "standing": standing, "eps": eps})
    return [check.passed for check in check_queries([row], left)]


def test_queries_against_gradients():
    assert queried("0011", "0001") == [True]
    assert queried("0001", "0011") == [False]
    # Another bound is another question.
    assert queried("0001", "0011", eps=2) == [None]
    # Only the images of both are compared.
    assert queried("01", "0111") == [True]
    assert queried("00110000", "0111") == [False]


def test_guessing():
    assert check_clean(90, 100, 10).passed is True
    assert check_clean(12, 100, 10).passed is False
    assert check_clean(99, 100, 2).passed is True
    assert check_clean(50, 100, 2).passed is False


@pytest.mark.parametrize("channels", [1, 3])
def test_normalisations_are_undone_and_done(channels):
    images = torch.rand(2, channels, 4, 4)
    mean, std = [0.2] * channels, [0.3] * channels
    (_, meaning, undone), *usual = other_ranges(images, mean, std)
    torch.testing.assert_close((undone - 0.2) / 0.3, images)
    assert "leave mean and std out" in meaning
    assert all("undone" in what for what, _, _ in usual)
    found = {what: changed for what, _, changed in other_ranges(images, None, None)}
    torch.testing.assert_close(found["the normalisation for [-1, 1]"], images * 2 - 1)
    torch.testing.assert_close(found["the normalisation for [-1, 1] undone"], images / 2 + 0.5)
    # Of five channels nobody knows what is usual.
    assert not list(other_ranges(torch.rand(2, 5, 4, 4), None, None))


def test_another_range_must_be_clearly_better():
    found = check_range(110, 200, [("a", "take a", 174), ("b", "take b", 120)])
    assert found.passed is False
    assert (
        found.detail == "110 of 200 images are classified correctly as they are, 174 with a; take a"
    )
    found = check_range(110, 200, [("b", "take b", 120)])
    assert found.passed is True
    assert "take b" not in found.detail
    assert check_range(110, 200, []).passed is None
