import json
import re

import pytest
import torch
from PIL import Image

from comdefend.attacks import run_attack
from comdefend.data.shipped import fashion_images
from comdefend.defenses import DefendedClassifier, load_defense
from comdefend.errors import InputError
from comdefend.evaluation import runner
from comdefend.evaluation.experiment import build_experiment
from comdefend.evaluation.purified import Purified
from comdefend.evaluation.record import load_record_file
from comdefend.nn.batches import apply
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.weights.zoo import load_classifier, save_weights


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Twenty shipped images as a folder of ten classes, and a small purifier."""
    place = tmp_path_factory.mktemp("evaluation")
    images, labels = fashion_images()
    for label in range(10):
        folder = place / "images" / "test" / f"{label}"
        folder.mkdir(parents=True)
        for index in (labels == label).nonzero().flatten()[:2].tolist():
            Image.fromarray(images[index, 0].numpy()).save(folder / f"{index}.png")
    torch.manual_seed(0)
    config = PurifierConfig(1, encoder_widths=(4,), decoder_widths=(4,), code_maps=4)
    save_weights(place / "tiny.safetensors", ComDefend(config), {})
    return place


def experiment(place, **changes):
    plain = {
        "name": "tiny", "title": "Tiny", "data": f"folder:{place / 'images'}",
        "classifier": "fashion-mnist-small",
        "defenses": ["none", "bits:3", "noise:0.05", str(place / "tiny.safetensors")],
        "oblivious": [{"attack": "fgsm", "eps": [2, 8]}, {"attack": "deepfool"}],
        "adaptive": [{"attack": "pgd", "eps": [2, 8], "steps": 4}],
        "query": [{"attack": "square", "eps": [8], "steps": 10, "images": 4}],
        "corruptions": ["jpeg:10", "noise:0.1"],
        "stand_ins": ["identity", "noisy"], "draws": 2, "checks": 4, "images": 16,
    }  # fmt: skip
    return build_experiment({**plain, **changes}, "test")


@pytest.fixture(scope="module")
def record(place):
    return runner.run_experiment(experiment(place), place / "run")


def rows(record, **wanted):
    return [row for row in record["rows"] if all(row[k] == v for k, v in wanted.items())]


def test_rows_are_what_the_attacks_say(place, record):
    data = runner._sample(experiment(place))
    images, classifier = data.images.float() / 255, load_classifier("fashion-mnist-small")
    found = run_attack(classifier, images, data.labels, "fgsm", 8)
    with torch.no_grad():
        right = classifier(found).argmax(1) == data.labels
    (row,) = rows(record, defense="none", threat="oblivious", attack="fgsm", eps=8)
    assert row["correct"] == "".join(str(int(r)) for r in right)
    assert row["accuracy"] == right.float().mean().item()
    assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
    # Every value moves by 8/255, but for those that end at black or white.
    assert 30 < row["perturbation_psnr"] < 36


def test_corrupted_images_are_judged_by_every_defence(place, record):
    data = runner._sample(experiment(place))
    images, classifier = data.images.float() / 255, load_classifier("fashion-mnist-small")
    with torch.no_grad():
        right = classifier(load_defense("jpeg:10")(images)).argmax(1) == data.labels
    for about in record["defenses"]:
        assert [found["corruption"] for found in about["corruptions"]] == ["jpeg:10", "noise:0.1"]
    found = record["defenses"][0]["corruptions"][0]
    assert found["correct"] == "".join(str(int(r)) for r in right)
    assert "| no attack, but | jpeg:10 | noise:0.1 |" in (place / "run" / "table.md").read_text()
    assert "Changes that nobody chose" in (place / "run" / "report.html").read_text()


def test_the_adaptive_figure_is_the_worst_image_by_image(record):
    for defense in ("none", "bits:3"):
        below = rows(record, defense=defense, threat="clean")
        below += [
            r for r in rows(record, defense=defense) if r["threat"] == "oblivious" and r["eps"]
        ]
        (adaptive,) = rows(record, defense=defense, threat="adaptive", eps=8)
        for row in below:
            for worst, other in zip(adaptive["correct"], row["correct"], strict=True):
                assert worst <= other
    (small,) = rows(record, defense="none", threat="adaptive", eps=2)
    (large,) = rows(record, defense="none", threat="adaptive", eps=8)
    assert large["accuracy"] <= small["accuracy"]
    assert large["accuracy"] < rows(record, defense="none", threat="clean")[0]["accuracy"]


def test_the_record_says_what_was_done(place, record):
    assert load_record_file(place / "run" / "record.json") == json.loads(json.dumps(record))
    assert record["data"]["images"] == 16
    assert len(record["labels"]) == 16
    about = {defense["name"]: defense for defense in record["defenses"]}
    assert about["none"]["psnr"] is None
    assert about["bits:3"]["psnr"] > about[str(place / "tiny.safetensors")]["psnr"]
    assert about["noise:0.05"]["random"]
    code = about[str(place / "tiny.safetensors")]["code"]
    assert {flip["change"] for flip in code["flips"]} == {"fgsm", "random"}
    assert all(0 <= flip["share"] <= 1 for flip in code["flips"])
    assert 0 <= about["bits:3"]["detection"]["auroc"] <= 1
    names = [check["name"] for check in record["checks"]]
    assert "none: adaptive is never weaker than oblivious" in names
    report = (place / "run" / "report.html").read_text()
    assert "fashion-mnist-small" in report
    assert "| " in (place / "run" / "table.md").read_text()


def test_what_is_done_is_not_done_again(place, record, monkeypatch):
    def forbidden(*arguments, **options):
        raise AssertionError("attacked again")

    monkeypatch.setattr(runner, "run_attack", forbidden)
    again = runner.run_experiment(experiment(place), place / "run")
    assert again["rows"] == record["rows"]
    assert again["checks"] == record["checks"]


def test_a_run_that_was_stopped_goes_on(place, record, tmp_path):
    def stop(label, done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run_experiment(experiment(place), tmp_path, progress=stop)
    resumed = runner.run_experiment(experiment(place), tmp_path)

    def untimed(found):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in found["rows"]]

    assert untimed(resumed) == untimed(record)


def test_autoattack_goes_on_from_the_piece_where_it_was_stopped(place, tmp_path, monkeypatch):
    plan = experiment(
        place, defenses=["none"], oblivious=[], query=[], corruptions=[], checks=0, images=8,
        adaptive=[{"attack": "autoattack", "eps": [16]}],
    )  # fmt: skip
    attacked: list[int] = []

    def attack(model, images, *others, **options):
        if len(attacked) == 2:
            raise KeyboardInterrupt
        attacked.append(len(images))
        return run_attack(model, images, *others, **options)

    monkeypatch.setattr(runner, "_PIECE", 2)
    monkeypatch.setattr(runner, "run_attack", attack)
    with pytest.raises(KeyboardInterrupt):
        runner.run_experiment(plan, tmp_path / "run")
    monkeypatch.setattr(
        runner, "run_attack", lambda *a, **o: attacked.append(len(a[1])) or run_attack(*a, **o)
    )
    stopped = runner.run_experiment(plan, tmp_path / "run")
    whole = runner.run_experiment(plan, tmp_path / "whole")
    standing = rows(whole, threat="clean")[0]["correct"].count("1")
    assert sum(attacked) == 2 * standing
    (one,), (other,) = (rows(record, threat="adaptive") for record in (stopped, whole))
    assert one["correct"] == other["correct"]


def test_a_damaged_result_is_computed_again(place, record):
    for file in (place / "run" / "cells").glob("*.json"):
        file.write_text("{")
        break
    again = runner.run_experiment(experiment(place), place / "run")
    assert [r["correct"] for r in again["rows"]] == [r["correct"] for r in record["rows"]]


def test_another_classifier_is_attacked_both_ways(place, tmp_path):
    torch.manual_seed(1)
    other = load_classifier("fashion-mnist-small")
    with torch.no_grad():
        other.head.weight += 0.3 * torch.randn_like(other.head.weight)
    save_weights(tmp_path / "other.safetensors", other, {})
    row = {"name": "other", "classifier": str(tmp_path / "other.safetensors")}
    found = runner.run_experiment(
        experiment(place, defenses=["none", row], query=[], checks=0), tmp_path / "run"
    )
    (transfer,) = rows(found, defense="other", threat="transfer", attack="fgsm", eps=8)
    (direct,) = rows(found, defense="other", threat="oblivious", attack="fgsm", eps=8)
    assert transfer["detail"] == "made on fashion-mnist-small"
    assert transfer["accuracy"] > direct["accuracy"]
    assert not rows(found, defense="none", threat="transfer")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 999}, "has 20 images, not 999"),
        ({"crop": 64}, "crop: the images are 28x28, 64 does not fit"),
        ({"adaptive": [{"attack": "pgd", "eps": [8], "images": 17}]}, "pgd: 17 images of a sample"),
        ({"defenses": ["rgb-12bpp"]}, "rgb-12bpp: images: have 1 channels"),
        ({"classifier": "cifar10-small"}, "images: have 1 channels, this classifier takes 3"),
        ({"defenses": ["magic"]}, "unknown defence 'magic'"),
    ],
)
def test_what_does_not_fit_is_one_line(place, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        runner.run_experiment(experiment(place, **change), tmp_path)


NETWORKS = """
from comdefend.classifiers import Normalized
from comdefend.weights.zoo import load_classifier
def plain(): return load_classifier("fashion-mnist-small")
def twice(): return Normalized(plain(), [0.5], [0.5])
def not_at_all(): return Normalized(plain(), [-1.0], [2.0])
"""


@pytest.mark.parametrize(
    ("classifier", "mean", "message"),
    [
        ("plain", None, None),
        ("plain", 0.5, "19 with mean and std undone; .*leave mean and std out"),
        ("twice", None, r"with the normalisation for \[-1, 1\] undone; .*normalise images twice"),
        ("not_at_all", None, "expect normalised images: give their mean and std"),
    ],
)
def test_a_wrong_normalisation_is_found_out(
    place, tmp_path, monkeypatch, classifier, mean, message
):
    (tmp_path / "range_networks.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found = runner.run_experiment(
        experiment(
            place, classifier=f"range_networks:{classifier}", defenses=["none"], images=20,
            oblivious=[{"attack": "fgsm", "eps": [8]}], query=[], corruptions=[], checks=0,
            mean=mean and [mean], std=mean and [0.25],
        ),
        tmp_path / "run",
    )  # fmt: skip
    (check,) = (c for c in found["checks"] if "as it expects them" in c["name"])
    assert check["passed"] is (message is None)
    if message:
        assert re.search(message, check["detail"])


def test_a_purifier_does_nothing_twice(place, tmp_path, monkeypatch):
    purified = []
    forward = ComDefend.forward

    def counted(self, images, *rest):
        if torch.is_inference_mode_enabled():
            purified.append(images.clone())
        return forward(self, images, *rest)

    monkeypatch.setattr(ComDefend, "forward", counted)
    plan = experiment(
        place, defenses=[str(place / "tiny.safetensors")], corruptions=[], checks=0, query=[],
        oblivious=[{"attack": "fgsm", "eps": [2, 8]}], adaptive=[{"attack": "fgsm", "eps": [8]}],
    )  # fmt: skip
    kept = runner.run_experiment(plan, tmp_path / "kept")
    whole = [images for images in purified if len(images) == 16]
    # Clean, two bounds of FGSM and two of chance: for the rows, the PSNR, the code and detection.
    assert len(whole) == 5
    assert not any(a.equal(b) for i, a in enumerate(whole) for b in whole[:i])
    monkeypatch.setattr(runner, "Purified", lambda: Purified(limit=0))
    purified.clear()
    anew = runner.run_experiment(plan, tmp_path / "anew")
    assert sum(len(images) == 16 for images in purified) > 5
    assert kept["defenses"] == anew["defenses"]
    assert [r["correct"] for r in kept["rows"]] == [r["correct"] for r in anew["rows"]]


def test_kept_images_are_judged_as_those_of_the_whole_pipeline(gray, fashion):
    images, keeps = fashion.images[:50], Purified()
    pipeline = DefendedClassifier(gray, fashion.classifier).eval()
    for _ in range(2):
        purified = keeps(gray, "gray", images, like=pipeline)
        assert purified.equal(apply(gray, images))
        logits = apply(fashion.classifier, purified, like=pipeline)
        assert logits.equal(apply(pipeline, images))


def test_kept_images_are_bounded_and_the_oldest_go_first():
    torch.manual_seed(0)
    images = torch.rand(3, 1, 1, 4, 4)
    keeps, calls = Purified(limit=2 * images[0].nbytes), []

    class Counting(torch.nn.Module):
        def forward(self, images):
            calls.append(images)
            return images * 2

    for index in (0, 1, 0, 2, 0, 1):
        assert keeps(Counting(), "key", images[index]).equal(images[index] * 2)
    # The first was asked for again before the third came, so the second had to go.
    assert len(calls) == 4
    keeps(Counting(), "another key", images[1])
    assert len(calls) == 5
    assert keeps.size == sum(kept.nbytes for kept in keeps.kept.values()) <= keeps.limit


def test_one_image_is_too_few_for_detection_alone(place, tmp_path):
    found = runner.run_experiment(
        experiment(place, defenses=["none", "bits:3"], images=1, query=[]), tmp_path
    )
    assert found["defenses"][1]["detection"]["skipped"] == "1 of at least 4 images"
    assert "not measured: 1 of at least 4 images" in (tmp_path / "report.html").read_text()


def test_why_a_random_defence_has_no_figure_of_hopskipjump(place, tmp_path):
    found = runner.run_experiment(
        experiment(
            place, defenses=["noise:0.05"], oblivious=[], corruptions=[], checks=0, images=4,
            query=[{"attack": "hopskipjump", "eps": [8], "steps": 1}],
        ),
        tmp_path,
    )  # fmt: skip
    assert not rows(found, threat="query")
    (check,) = (c for c in found["checks"] if c["passed"] is None)
    assert check["name"] == "noise:0.05: hopskipjump 8/255, query"
    assert "a random defence has none" in check["detail"]
