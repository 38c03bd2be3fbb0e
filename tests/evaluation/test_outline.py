import json
import os
import subprocess
import sys

import msgspec
import pytest

from comdefend.common.extras import require_extra
from comdefend.errors import DataMissingError, ExtraMissingError
from comdefend.evaluation import outline
from comdefend.evaluation.loading import load_experiment
from comdefend.evaluation.outline import Outline
from comdefend.evaluation.shipped import experiments, profiles_of

# Both ways lead to the same: of plain values, and of the experiment itself.
KNOWN = [(name, profile) for name in experiments() for profile in profiles_of(name)]


def recipes_of(experiment):
    """The recipes that an experiment trains, as `Subjects` does: each once."""
    found = {experiment.train_classifier: None}
    for row in experiment.defenses:
        found |= {row.train_purifier: None, row.train_defense: None}
        recipe = row.train_classifier
        if row.purified:
            behind = str(row.train_purifier or row.purifier)
            recipe = msgspec.structs.replace(recipe, purifier=behind)
        found[recipe] = None
    return [recipe for recipe in found if recipe is not None]


@pytest.mark.parametrize(("name", "profile"), KNOWN)
def test_an_outline_says_what_the_experiment_does(name, profile):
    experiment, told = load_experiment(name, profile), Outline(name, profile)
    recipes = recipes_of(experiment)
    assert [(r.kind, r.data) for r in told.trainings] == [(r.kind, r.data) for r in recipes]
    assert ("train" in told.extras) == bool(recipes)
    assert told.data[0] == (experiment.data, "test")
    text = str(told)
    assert text.startswith(f"{experiment.name}: {experiment.title}\n")
    cells = [plan.images or experiment.images for plan in experiment.plans for _ in plan.bounds]
    assert f"{len(experiment.defenses)} defences x {len(cells)} attacks and bounds" in text
    if all(cells):
        assert f": {len(experiment.defenses) * sum(cells):,} in all" in text


def test_a_time_is_told_only_if_a_record_names_the_processor(tmp_path, monkeypatch):
    monkeypatch.setattr(outline, "_RECORDS", tmp_path)
    record = {"seconds": 4000.0, "threads": 2, "name": "noise-small"}
    (tmp_path / "noise-small.json").write_text(json.dumps(record))
    assert "time: no run on a named processor is recorded" in str(Outline("noise", "small"))
    (tmp_path / "noise-small.json").write_text(json.dumps({**record, "processor": "Some CPU"}))
    told = str(Outline("noise", "small"))
    assert "time: the attacks took 1 h 7 min on Some CPU, 2 threads" in told


def test_everything_missing_is_named_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.delenv("COMDEFEND_DATA", raising=False)
    with pytest.raises(ExtraMissingError) as caught:
        Outline("cifar10", "small").check()
    assert "pip install 'comdefend[train]'; data set 'cifar10': set COMD" in str(caught.value)
    assert str(caught.value).count("cifar10'") == 1
    monkeypatch.undo()
    monkeypatch.delenv("COMDEFEND_DATA", raising=False)
    with pytest.raises(DataMissingError):
        Outline("noise", "small").check()


def test_classifiers_that_need_another_extra_are_known():
    from comdefend.classifiers.ready import READY

    assert set(outline._NEEDS) <= set(READY)
    require_extra(*outline._NEEDS.values())


def test_reproduce_tells_it_before_it_imports_torch():
    code = (
        "import sys; from comdefend.cli import main; sys.argv = ['', 'reproduce', 'cifar10']\n"
        "try:\n    main()\n"
        "finally:\n    assert 'torch' not in sys.modules"
    )
    environment = {k: v for k, v in os.environ.items() if k != "COMDEFEND_DATA"}
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert out.returncode == 2
    *told, error = out.stderr.strip().splitlines()
    assert told[0] == "cifar10-small: CIFAR-10, defences at test time"
    assert told[1] == "needs: comdefend[evaluate,train]; data: cifar10"
    assert "1 x denoiser, 600 steps on cifar10" in told[2]
    assert error.startswith("error: data set 'cifar10': set COMDEFEND_DATA")
