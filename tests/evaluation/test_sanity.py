from comdefend.evaluation.sanity import Left, check_attacks, check_clean, check_queries

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
    return [check["passed"] for check in check_attacks(Left(**{**SOUND, **changes}))]


def test_sound_attacks_pass():
    assert passed() == [True, True, True]


def test_what_does_not_hold_is_said():
    assert passed(unbounded=1) == [False, True, True]
    assert passed(many=6) == [True, False, True]
    assert passed(oblivious=2) == [True, True, False]
    details = [check["detail"] for check in check_attacks(Left(**{**SOUND, "oblivious": 2}))]
    assert "adaptive leaves 3 of 32 images, oblivious 2" in details[2]


def queried(query, standing, eps=8, images=4):
    row = {"threat": "query", "attack": "square", "eps": 8, "images": len(query), "correct": query}
    left = Left(**{**SOUND, "images": images, "standing": standing, "eps": eps})
    return [check["passed"] for check in check_queries([row], left)]


def test_queries_against_gradients():
    assert queried("0011", "0001") == [True]
    assert queried("0001", "0011") == [False]
    # Another bound is another question.
    assert queried("0001", "0011", eps=2) == [None]
    # Only the images of both are compared.
    assert queried("01", "0111") == [True]
    assert queried("00110000", "0111") == [False]


def test_guessing():
    assert check_clean(90, 100, 10)["passed"] is True
    assert check_clean(12, 100, 10)["passed"] is False
    assert check_clean(99, 100, 2)["passed"] is True
    assert check_clean(50, 100, 2)["passed"] is False
