import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import engine_equality
import update_docs


@pytest.fixture(scope="module")
def measured():
    images, labels = engine_equality.fashion_images()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_equality, "ENGINES", ("torch",))
        patch.setattr(engine_equality, "PRECISIONS", ("float32", "bfloat16", "float8"))
        return engine_equality.measure_set(
            "fashion-mnist", "fashion-mnist-small", ["gray-4bpp"],
            images[::20].float() / 255, labels[::20],
        )  # fmt: skip


def test_engines_are_compared_with_float32_torch(measured):
    exact = measured["rows"][0]
    assert (exact["weights"], exact["engine"], exact["precision"]) == (
        "gray-4bpp", "torch", "float32",
    )  # fmt: skip
    assert exact["psnr"] is None or exact["psnr"] > 90
    assert exact["flipped_bits"] < 1e-5
    assert exact["change"] == {"clean": 0, "attacked": 0}
    for row in measured["rows"][1:]:
        assert 40 < row["psnr"] < 90
        assert 0 < row["flipped_bits"] < 0.01
    assert measured["images"] == 10
    assert measured["bare"]["attacked"] < exact["accuracy"]["attacked"] <= 1
    (left,) = [found for found in measured["left_out"] if found["precision"] == "float8"]
    assert "float8" in left["reason"]


def test_the_table_says_what_the_record_says(measured, tmp_path, monkeypatch):
    (tmp_path / "docs/records").mkdir(parents=True)
    monkeypatch.setattr(update_docs, "ROOT", tmp_path)
    empty = "<!-- table: engines --><!-- end -->"
    assert "Not run yet: `python tools/engine_equality.py`." in update_docs.filled(empty)
    record = {
        "sets": [measured], "attack": engine_equality.ATTACK, "seed": 0, "threads": 1,
        **engine_equality.description(), "versions": {"torch": "2"},
    }  # fmt: skip
    (tmp_path / "docs/records/engines.json").write_text(json.dumps(record))
    text = update_docs.filled(empty)
    assert "| gray-4bpp | torch float32 |" in text
    assert "| +0.0 |" in text
    assert "10 test images of `fashion-mnist` with `fashion-mnist-small`" in text
