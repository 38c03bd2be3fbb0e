import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from comdefend.classifiers import open_classifier
from comdefend.defenses import DefendedClassifier
from comdefend.evaluation.experiment import EXPERIMENTS

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import defense_cost
import update_docs


@pytest.fixture(scope="module")
def photos():
    return defense_cost.photographs()


@pytest.fixture(scope="module")
def measured(photos):
    """A record of a few small images; labels are what they may be."""
    images = photos[:3, :, 96:128, 96:128]
    return defense_cost.measure(images, torch.tensor([0, 3, 8]), photos[:1, :, :48, :48], rounds=1)


def test_every_defence_of_the_experiment_is_timed(measured):
    defenses = yaml.safe_load((EXPERIMENTS / "cifar10.yaml").read_text())["defenses"]
    # Those that are trained first are mappings, and not timed.
    listed = [defense for defense in defenses if isinstance(defense, str)]
    for timed in measured["costs"]:
        assert [row["defense"] for row in timed["rows"]] == listed
        assert timed["rows"][0]["ratio"] == 1
        assert all(row["ratio"] > 0 for row in timed["rows"])


def test_models_take_turns_and_the_first_round_warms_up(photos):
    calls = []
    models = {name: lambda images, name=name: calls.append(name) for name in "ab"}
    found = defense_cost.speeds(models, photos, rounds=2)
    assert calls == ["a", "b"] * 3
    assert [len(rates) for rates in found.values()] == [2, 2]


def test_stages_are_the_pipeline(rgb, photos):
    images, classifier = photos[:2, :, 96:128, 96:128], open_classifier("cifar10-small")
    pipeline = DefendedClassifier(rgb, classifier)
    stages = [rgb.encode, rgb.decode, classifier]
    with torch.inference_mode():
        exact = pipeline(images)
        with torch.autocast("cpu", torch.bfloat16):
            rough = pipeline(images).float()
    torch.testing.assert_close(defense_cost._outputs(stages, images, low=False)[-1], exact)
    torch.testing.assert_close(defense_cost._outputs(stages, images, low=True)[-1], rough)
    assert not torch.equal(rough, exact)


@pytest.mark.parametrize("changed", [0, 2])
def test_tables_say_what_the_record_says(measured, changed, tmp_path, monkeypatch):
    record = json.loads(json.dumps(measured))
    for row in record["bfloat16"]["rows"]:
        row["changed"] = 0
    record["bfloat16"]["rows"][-1]["changed"] = changed
    (tmp_path / "docs/records").mkdir(parents=True)
    monkeypatch.setattr(update_docs, "ROOT", tmp_path)
    empty = "<!-- table: speed --><!-- end --><!-- table: bfloat16 --><!-- end -->"
    assert update_docs.filled(empty).count("Not run yet: `python tools/defense_cost.py`.") == 2
    (tmp_path / "docs/records/defense-cost.json").write_text(json.dumps(record))
    text = update_docs.filled(empty)
    assert "Not run yet" not in text
    assert "| none |" in text
    assert "| 100.0 % |" in text
    assert f"| rgb-12bpp | BIM-10 8/255 | {changed} of 3 |" in text
    assert ("evaluations stay in float32" in text) == (changed > 0)
