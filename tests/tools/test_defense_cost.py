import pytest
import torch

from comdefend.classifiers import open_classifier
from comdefend.defenses import DefendedClassifier
from tools import defense_cost


@pytest.fixture(scope="module")
def photos():
    return defense_cost.photographs()


@pytest.fixture(scope="module")
def images(photos):
    return photos[:2, :, 100:108, 100:108]  # small: emulated bfloat16 is slow


def test_every_defence_of_the_experiment_is_timed(images):
    timed = defense_cost.costs("cifar10-small", images, rounds=1)
    # Those that are trained first are not timed.
    listed = [plan.name for plan in defense_cost.EXPERIMENT.defenses if plan.name != "HGD"]
    assert [row.defense for row in timed.rows] == listed
    assert timed.rows[0].ratio == 1
    assert all(row.ratio > 0 for row in timed.rows)


def test_bfloat16_is_compared_on_clean_and_attacked_images(images):
    measured = defense_cost.bfloat16("cifar10-small", images, torch.tensor([0, 3]), rounds=1)
    assert [(row.defense, row.images) for row in measured.rows] == [
        ("none", "clean"), ("none", "bim"), ("rgb-12bpp", "clean"), ("rgb-12bpp", "bim")
    ]  # fmt: skip
    assert [row.psnr is None for row in measured.rows] == [True, True, False, False]
    assert all(gain.ratio > 0 for gain in measured.speeds)


def test_models_take_turns_and_the_first_round_warms_up(photos):
    calls = []
    models = {name: lambda images, name=name: calls.append(name) for name in "ab"}
    rates = defense_cost.speeds(models, photos, rounds=2)
    assert calls == ["a", "b"] * 3
    assert [len(found) for found in rates.values()] == [2, 2]


def test_stages_are_the_pipeline(rgb, images):
    classifier = open_classifier("cifar10-small")
    pipeline = DefendedClassifier(rgb, classifier)
    stages = [rgb.encode, rgb.decode, classifier]
    with torch.inference_mode():
        exact = pipeline(images)
        with torch.autocast("cpu", torch.bfloat16):
            rough = pipeline(images).float()
    torch.testing.assert_close(defense_cost.outputs(stages, images, low=False)[-1], exact)
    torch.testing.assert_close(defense_cost.outputs(stages, images, low=True)[-1], rough)
    assert not torch.equal(rough, exact)
