import dataclasses

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from comdefend.data.shipped import fashion_images, labelled_photographs
from comdefend.demo import run as demo
from comdefend.demo import scenes
from comdefend.evaluation.record import load_record


@pytest.fixture
def small(monkeypatch):
    """The Fashion-MNIST scene with ten images and its quicker purifier, as both scenes."""
    monkeypatch.setattr(scenes, "PER_CLASS", 1)
    scene, name = scenes.fashion_scene(), "gray-2bpp-adversarial"
    defenses = tuple(d for d in scene.experiment.defenses if d.name in ("none", name))
    pictures = {name: scene.pictures[name]}
    scene = dataclasses.replace(
        scene,
        experiment=msgspec.structs.replace(scene.experiment, defenses=defenses),
        pictures=pictures,
    )
    monkeypatch.setattr(demo, "fashion_scene", lambda: scene)
    monkeypatch.setattr(demo, "photo_scene", lambda: scene)
    return scene


def test_demo_attacks_defends_and_tells_the_truth(small, tmp_path, capsys):
    records = demo.run_demo(tmp_path / "demo")
    assert load_record(tmp_path / "demo" / "fashion-mnist.json") == records[-1]
    for record in records:
        for name in record.defense_names:
            clean = record.row(defense=name, threat="clean").correct
            # On the bare classifier the oblivious attack is an adaptive one too, and comes first.
            worst = record.rows(defense=name, attack="pgd", threat="adaptive")[-1].correct
            assert all(a <= b for a, b in zip(worst, clean, strict=True))
    out = capsys.readouterr().out
    for word in ("clean", "FGSM", "PGD-", "adaptive", "gray-2bpp-adversarial", "none"):
        assert word in out
    with Image.open(tmp_path / "demo" / "fashion-mnist-adversarial.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[0] > 600
    assert pixels.shape[1] > 1000
    # A frame of a right label: clean images are among those shown.
    assert (pixels == (0, 0x72, 0x4F)).all(-1).sum() > 100


def test_shipped_images_are_the_first_20_of_each_class():
    images, labels = fashion_images()
    assert images.shape == (200, 1, 28, 28)
    assert labels.bincount().tolist() == [20] * 10


def test_all_shown_labels_are_in_the_sample():
    scene = scenes.fashion_scene()
    assert set(scene.shown) <= set(scene.given.data.labels.tolist())


def test_the_photographs_are_what_their_labels_say():
    scene = scenes.photo_scene()
    data = scene.given.data
    with torch.inference_mode():
        predicted = scene.given.classifier(data.images.float() / 255).argmax(1)
    assert predicted.equal(data.labels)
    assert data.classes[int(data.labels[0])] == "tabby / tiger cat / Egyptian cat"
    assert len(data.classes) == 1000 - sum(
        len(group) - 1 for group in labelled_photographs(32).accepted
    )


def test_merged_classes_have_the_sum_of_their_probabilities():
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    merged = scenes.Merged(nn.Identity(), ((1, 3),))
    expected = logits.softmax(1)[:, [0, 2]]
    found = merged(logits).softmax(1)
    torch.testing.assert_close(found[:, :2], expected)
    torch.testing.assert_close(found[:, 2], logits.softmax(1)[:, [1, 3]].sum(1))
    assert merged.names(("a", "b", "c", "d")) == ("a", "c", "b / d")
