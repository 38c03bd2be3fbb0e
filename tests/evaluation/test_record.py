import json

import pytest

from comdefend.errors import DataMissingError, InputError
from comdefend.evaluation.record import (
    FORMAT,
    load_record_file,
    mcnemar,
    save_record,
    wilson_interval,
)


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


def test_records_come_back_as_they_were(tmp_path):
    record = {"format": FORMAT, "data": {}, "rows": [{"accuracy": 0.5}]}
    save_record(record, tmp_path / "record.json")
    assert load_record_file(tmp_path / "record.json") == record


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a record"),
        ("[]", "not a record of an evaluation"),
        (json.dumps({"format": 99, "rows": []}), "a record of format 99"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_record_file(path)
    with pytest.raises(DataMissingError):
        load_record_file(tmp_path / "nothing.json")
