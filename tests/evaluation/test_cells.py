import json

import pytest
from torch import nn

from comdefend.common.schema import to_plain
from comdefend.defenses import GaussianNoise, is_random
from comdefend.evaluation.cells import Plan, stand_ins_of
from comdefend.evaluation.experiment import DefensePlan
from comdefend.evaluation.loading import attacks_of
from comdefend.evaluation.subjects import OpenedClassifier, Subject
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend

TINY = PurifierConfig(channels=1, encoder_widths=(4,), decoder_widths=(4,), code_maps=4)


def subject(purifier=None, classifier_key="main", draws=1):
    plan = DefensePlan("x", "none" if purifier is None else "x")
    key = f"{type(purifier).__name__} {classifier_key}"
    alone = OpenedClassifier(nn.Identity(), classifier_key, False)
    return Subject(plan, purifier, alone, key, draws, purifier is not None and is_random(purifier))


def planned(experiment, subject, sources=()):
    keys = dict.fromkeys(experiment.corruptions, "key")
    plan = Plan(
        experiment, subject, "main", "data", 16, attacks_of(experiment), keys, dict(sources)
    )
    return list(plan.cells())


def test_a_plan_computes_nothing_and_says_everything(experiment):
    cells = planned(experiment(), subject())
    assert [cell.label for cell in cells] == [
        "clean images", "fgsm 2/255", "fgsm 8/255", "deepfool", "square 8/255, query",
        "pgd 2/255, adaptive", "pgd 8/255, adaptive", "ranges", "jpeg:10", "noise:0.1",
        "sanity checks",
    ]  # fmt: skip
    assert planned(experiment(), subject()) == cells
    assert len({cell.digest for cell in cells}) == len(cells)
    assert json.dumps(to_plain(cells[0]))


def test_an_adaptive_cell_starts_from_all_that_its_attacker_could_do(experiment):
    cells = {cell.label: cell for cell in planned(experiment(), subject())}
    after = [
        [label for label, cell in cells.items() if cell.digest in adaptive.after]
        for adaptive in (cells["pgd 2/255, adaptive"], cells["pgd 8/255, adaptive"])
    ]
    assert after[0] == ["clean images", "fgsm 2/255"]
    assert after[1] == [
        "clean images", "fgsm 2/255", "fgsm 8/255", "square 8/255, query", "pgd 2/255, adaptive",
    ]  # fmt: skip


def test_a_purifier_is_attacked_by_stand_ins_and_its_code_is_looked_at(experiment):
    cells = {cell.label: cell for cell in planned(experiment(), subject(ComDefend(TINY).eval()))}
    assert cells["pgd 8/255, adaptive"].stand_ins == ("identity", "noisy")
    assert cells["square 8/255, query"].stand_ins == ("identity",)
    assert cells["fgsm 8/255"].stand_ins == ()
    measures = [cell.measure for cell in cells.values()]
    assert {"fidelity", "code", "detection"} <= set(measures)
    assert "ranges" not in measures
    (code,) = (cell for cell in cells.values() if cell.measure == "code")
    assert code.eps == (2, 8)


def test_what_decides_a_result_is_in_its_key_and_nothing_else(experiment):
    plain = {cell.label: cell.digest for cell in planned(experiment(), subject())}
    renamed = planned(experiment(title="Other words", classifier="x"), subject())
    assert [cell.digest for cell in renamed] == list(plain.values())
    for change in ({"seed": 1}, {"oblivious": [{"attack": "fgsm", "eps": [2, 8], "images": 8}]}):
        other = {c.label: c.digest for c in planned(experiment(**change), subject())}
        assert other["fgsm 8/255"] != plain["fgsm 8/255"]
    stronger = experiment(adaptive=[{"attack": "pgd", "eps": [2, 8], "steps": 5}])
    other = {c.label: c.digest for c in planned(stronger, subject())}
    assert other["pgd 8/255, adaptive"] != plain["pgd 8/255, adaptive"]
    assert other["fgsm 8/255"] == plain["fgsm 8/255"]


def test_how_an_attack_is_made_is_in_its_key(experiment):
    bim = {"attack": "bim", "eps": [8], "steps": 5}
    plans = [bim, {**bim, "step_size": 1}, {**bim, "rounded": False}]
    cells = planned(experiment(oblivious=plans), subject())[1:4]
    assert [cell.step_size for cell in cells] == [None, 1, None]
    assert len({cell.digest for cell in cells}) == 3


def test_adaptive_figures_are_about_rounded_images_alone(experiment):
    fgsm = {"attack": "fgsm", "eps": [8]}
    cells = planned(experiment(oblivious=[fgsm, {**fgsm, "rounded": False}]), subject())
    rounded, unrounded = (cell.digest for cell in cells if cell.measure == "oblivious")
    (adaptive,) = (c for c in cells if c.measure == "adaptive" and c.bound == 8)
    assert rounded in adaptive.after
    assert unrounded not in adaptive.after


def test_an_attack_made_elsewhere_is_one_of_transfer_and_never_the_usual_one(experiment):
    plans = [{"attack": "bim", "eps": [8], "made_on": "else"}, {"attack": "fgsm", "eps": [8]}]
    tiny = subject(ComDefend(TINY).eval())
    cells = planned(experiment(oblivious=plans), tiny, {"else": "their key"})
    made = {cell.measure: (cell.attack, cell.source) for cell in cells if cell.source}
    assert made["transfer"] == ("bim", "their key")
    assert made["oblivious"] == made["code"] == ("fgsm", "main")


def test_a_classifier_of_its_own_is_attacked_by_transfer_too(experiment):
    cells = planned(experiment(), subject(classifier_key="other"))
    sources = {cell.measure: cell.source for cell in cells if cell.attack == "fgsm"}
    assert sources == {"oblivious": "other", "transfer": "main"}


def test_nobody_walks_along_the_boundary_of_a_random_defence(experiment):
    plan = experiment(query=[{"attack": "hopskipjump", "eps": [8]}])
    assert any(cell.measure == "query" for cell in planned(plan, subject()))
    # However few draws are averaged over.
    for draws in (1, 2):
        noisy = subject(GaussianNoise(0.1), draws=draws)
        assert not any(cell.measure == "query" for cell in planned(plan, noisy))


@pytest.mark.parametrize(
    ("purifier", "wanted"),
    [
        (None, ("identity",)),
        (nn.Identity(), ("identity",)),
        (ComDefend(TINY), ("noisy", "identity")),
        (nn.Sequential(nn.Identity(), ComDefend(TINY)), ("noisy", "identity")),
        (nn.Sequential(nn.Sequential(ComDefend(TINY))), ("noisy", "identity")),
    ],
)
def test_only_a_threshold_needs_stand_ins(purifier, wanted):
    assert stand_ins_of(subject(purifier), ("noisy", "identity")) == wanted
