import pytest

from comdefend.evaluation.sanity import Left, check_attacks, check_clean, check_queries

SOUND = {"images": 32, "eps": 8, "unbounded": 0, "few": 5, "many": 3, "oblivious": 20}


def passed(**changes):
    return [check["passed"] for check in check_attacks(Left(**{**SOUND, **changes}))]


def test_sound_attacks_pass():
    assert passed() == [True, True, True]


def test_what_does_not_hold_is_said():
    assert passed(unbounded=1) == [False, True, True]
    assert passed(many=6) == [True, False, True]
    assert passed(oblivious=2) == [True, True, False]
    details = [check["detail"] for check in check_attacks(Left(**{**SOUND, "oblivious": 2}))]
    assert "adaptive leaves 3 of 32 images, oblivious 2" in details[2]


@pytest.mark.parametrize(
    ("query", "gradient", "expected"), [("0011", "0001", True), ("0001", "0011", False)]
)
def test_queries_against_gradients(query, gradient, expected):
    rows = [
        {"threat": "adaptive", "attack": "pgd", "eps": 8, "images": 4, "correct": gradient},
        {"threat": "query", "attack": "square", "eps": 8, "images": 4, "correct": query},
    ]
    assert [check["passed"] for check in check_queries(rows)] == [expected]
    # Another bound is another question.
    rows[0]["eps"] = 2
    assert [check["passed"] for check in check_queries(rows)] == [None]


def test_only_the_images_of_both_are_compared():
    rows = [
        {"threat": "adaptive", "attack": "pgd", "eps": 8, "images": 4, "correct": "0111"},
        {"threat": "query", "attack": "square", "eps": 8, "images": 2, "correct": "01"},
    ]
    assert check_queries(rows)[0]["passed"] is True


def test_guessing():
    assert check_clean(0.9, 10)["passed"] is True
    assert check_clean(0.12, 10)["passed"] is False
