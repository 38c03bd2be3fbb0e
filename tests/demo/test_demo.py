import dataclasses
import json

import numpy as np
from PIL import Image

from comdefend.data.shipped import fashion_images
from comdefend.demo import run as demo
from comdefend.demo.scenes import photo_scene, robust_scene


def test_demo_attacks_defends_and_tells_the_truth(fashion, tmp_path, monkeypatch, capsys):
    def few(scene):
        return dataclasses.replace(
            scene, images=scene.images[:30], accepted=scene.accepted[:30], shown=(0, 1, 2)
        )

    monkeypatch.setattr(demo, "fashion_scene", lambda: few(fashion))
    monkeypatch.setattr(demo, "robust_scene", lambda: few(robust_scene()))
    monkeypatch.setattr(demo, "photo_scene", lambda: few(fashion))
    record = demo.run_demo(tmp_path / "demo")
    assert json.loads((tmp_path / "demo" / "record.json").read_text()) == record
    for row in record["rows"]:
        assert row["clean"] >= 0.85
        assert row["attacked"] < row["defended"] <= row["clean_defended"] + 0.05
        assert row["adaptive"] <= row["defended"]
    published, robust = record["rows"][1], record["rows"][3]
    assert published["attacked"] == robust["attacked"]
    assert published["adaptive"] < robust["adaptive"]
    out = capsys.readouterr().out
    for word in ("clean", "attacked", "defended", "adaptive", "FGSM", "PGD-20"):
        assert word in out
    for name in ("fashion-mnist", "fashion-mnist-adversarial"):
        with Image.open(tmp_path / "demo" / f"{name}.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert pixels.shape[0] > 600
        assert pixels.shape[1] > 1000
        for color in ((0, 0x72, 0x4F), (0xC0, 0x4A, 0)):
            assert (pixels == color).all(-1).sum() > 100, "no frame of a right and a wrong label"


def test_shipped_images_are_the_first_20_of_each_class():
    images, labels = fashion_images()
    assert images.shape == (200, 1, 28, 28)
    assert labels.bincount().tolist() == [20] * 10


def test_the_photographs_are_what_their_labels_say():
    scene = photo_scene()
    predicted = scene.classifier(scene.images).argmax(1)
    assert scene.accepted.gather(1, predicted.unsqueeze(1)).all()
    assert scene.accepted.any(1).all()
