import json
from pathlib import Path

import pytest

from comdefend.errors import DataMissingError, InputError
from comdefend.evaluation.record import load_record, save_record

RECORDS = Path(__file__).parents[2] / "docs" / "records"
EVALUATIONS = sorted(path for end in ("small", "gpu") for path in RECORDS.glob(f"*-{end}.json"))


@pytest.mark.parametrize("path", EVALUATIONS, ids=lambda path: path.stem)
def test_every_record_comes_back_as_it_was(path, tmp_path):
    record = load_record(path)
    assert f"{record.name}.json" == path.name
    save_record(record, tmp_path / "record.json")
    assert load_record(tmp_path / "record.json") == record
    # Field by field what the file says, though it may lack fields that are newer.
    again, before = (json.loads(p.read_text()) for p in (tmp_path / "record.json", path))
    rest = before.keys() - {"defenses", "rows"}
    assert all(again[key] == before[key] for key in rest)
    newer = {
        "resubmitted": [], "step_size": None, "confidence": None, "overshoot": None,
        "rounded": True,
    }  # fmt: skip
    for ours, theirs in zip(again["rows"], before["rows"], strict=True):
        assert ours == {**newer, **theirs}


def test_a_query_selects_rows():
    record = load_record(RECORDS / "cifar10-small.json")
    assert record.rows() == list(record.results)
    bim = record.rows(defense="rgb-12bpp", threat="oblivious", attack="bim")
    assert [row.eps for row in bim] == [2, 8, 16]
    row = record.row(defense="rgb-12bpp", threat="oblivious", attack="bim", eps=8)
    assert row.accuracy == 0.19
    assert record.row(defense="none", threat="clean", eps=None).attack is None
    # Without a defence there is nothing to know about.
    oblivious = record.rows(defense="none", threat="oblivious")
    assert set(map(id, oblivious)) <= set(map(id, record.rows(defense="none", threat="adaptive")))
    assert not set(map(id, bim)) & set(map(id, record.rows(defense="rgb-12bpp", threat="adaptive")))
    with pytest.raises(LookupError, match="3 rows fit"):
        record.row(defense="rgb-12bpp", threat="oblivious", attack="bim")
    assert record.defense("rgb-12bpp").bpp == 12
    with pytest.raises(LookupError, match="no defence 'magic'"):
        record.defense("magic")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a record"),
        ("[]", "not a record of an evaluation: must be a mapping"),
        ("[" * 100_000, "not a record"),
        (json.dumps({"rows": []}), "not a record of an evaluation: needs 'format'"),
        (json.dumps({"format": 99, "rows": []}), "a record of format 99"),
        (json.dumps({"format": 1, "rows": [5]}), "not a record of an evaluation"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_record(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataMissingError):
        load_record(tmp_path / "nothing.json")
