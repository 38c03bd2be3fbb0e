import re

import msgspec
import pytest
import torch

from comdefend.attacks import run_attack
from comdefend.common.store import Store
from comdefend.defenses import DefendedClassifier, load_defense
from comdefend.errors import InputError
from comdefend.evaluation import attacker, judge
from comdefend.evaluation.purified import Purified
from comdefend.evaluation.run import Run, run_experiment, take_sample
from comdefend.nn.batches import apply
from comdefend.nn.purifier import ComDefend
from comdefend.zoo import load_classifier, save_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def record(experiment, folder):
    return run_experiment(experiment(), folder)


def untimed(record):
    return [msgspec.structs.replace(row, seconds=0) for row in record.results]


def bits(right):
    return "".join(str(int(r)) for r in right)


def test_rows_are_what_the_attacks_say(experiment, record):
    data = take_sample(experiment())
    images, classifier = data.images.float() / 255, load_classifier("fashion-mnist-small")
    attacked = run_attack(classifier, images, data.labels, "fgsm", 8)
    with torch.no_grad():
        right = classifier(attacked).argmax(1) == data.labels
    row = record.row(defense="none", threat="oblivious", attack="fgsm", eps=8)
    assert row.correct == bits(right)
    assert row.accuracy == right.float().mean().item()
    assert row.interval[0] <= row.accuracy <= row.interval[1]
    # Every value moves by 8/255, except those that end at black or white.
    assert 30 < row.perturbation_psnr < 36


def test_corrupted_images_are_judged_behind_every_defence(experiment, record):
    data = take_sample(experiment())
    images, classifier = data.images.float() / 255, load_classifier("fashion-mnist-small")
    with torch.no_grad():
        right = classifier(load_defense("jpeg:10")(images)).argmax(1) == data.labels
    for defense in record.defenses:
        assert [c.corruption for c in defense.corruptions] == ["jpeg:10", "noise:0.1"]
    assert record.defense("none").corruptions[0].correct == bits(right)


def test_the_adaptive_figure_is_the_worst_image_by_image(record):
    for name in ("none", "bits:3"):
        below = record.rows(defense=name, threat="clean")
        below += [row for row in record.rows(defense=name, threat="oblivious") if row.eps]
        (adaptive,) = (
            row for row in record.rows(defense=name, attack="pgd", eps=8) if row.steps == 4
        )
        for row in below:
            pairs = zip(adaptive.correct, row.correct, strict=True)
            assert all(worst <= other for worst, other in pairs)
    small, large = (record.row(defense="none", attack="pgd", eps=eps) for eps in (2, 8))
    assert large.accuracy <= small.accuracy
    assert large.accuracy < record.row(defense="none", threat="clean").accuracy


def test_the_record_says_what_was_done(place, record):
    tiny = str(place / "tiny.safetensors")
    assert record.data.images == len(record.labels) == 16
    assert record.defense("none").psnr is None
    assert record.defense("bits:3").psnr > record.defense(tiny).psnr
    assert record.defense("noise:0.05").random
    flips = record.defense(tiny).code.flips
    assert {flip.change for flip in flips} == {"fgsm", "random"}
    assert all(0 <= flip.share <= 1 for flip in flips)
    assert 0 <= record.defense("bits:3").detection.auroc <= 1
    assert "none: adaptive is never weaker than oblivious" in [c.name for c in record.checks]
    row = record.row(defense=tiny, threat="adaptive", eps=8)
    assert row.detail.endswith("of identity, noisy")


def test_what_is_done_is_not_done_again(experiment, folder, record, monkeypatch):
    def forbidden(*arguments, **options):
        raise AssertionError("attacked again")

    monkeypatch.setattr(attacker, "run_attack", forbidden)
    again = run_experiment(experiment(title="Told in other words"), folder)
    assert again.results == record.results
    assert again.checks == record.checks


def test_a_run_that_was_stopped_goes_on(experiment, record, tmp_path):
    def stop(label, done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(experiment(), tmp_path, progress=stop)
    assert untimed(run_experiment(experiment(), tmp_path)) == untimed(record)


def test_autoattack_goes_on_from_the_piece_where_it_was_stopped(experiment, tmp_path, monkeypatch):
    plan = experiment(
        defenses=["none"], oblivious=[], query=[], corruptions=[], checks=0, images=6,
        adaptive=[{"attack": "autoattack", "eps": [16]}],
    )  # fmt: skip
    attacked: list[int] = []

    def attack(model, images, *others, **options):
        if len(attacked) == 2 and stopping:
            raise KeyboardInterrupt
        attacked.append(len(images))
        return run_attack(model, images, *others, **options)

    monkeypatch.setattr(attacker, "PIECE", 2)
    monkeypatch.setattr(attacker, "run_attack", attack)
    stopping = True
    with pytest.raises(KeyboardInterrupt):
        run_experiment(plan, tmp_path / "run")
    stopping = False
    stopped = run_experiment(plan, tmp_path / "run")
    assert sum(attacked) == stopped.row(threat="clean").correct.count("1")
    monkeypatch.setattr(attacker, "run_attack", run_attack)
    whole = run_experiment(plan, tmp_path / "whole")
    assert untimed(stopped) == untimed(whole)


def test_a_damaged_cell_is_computed_again(experiment, folder, record):
    next((folder / "cells").glob("*.json")).write_text("{")
    assert untimed(run_experiment(experiment(), folder)) == untimed(record)


def test_another_classifier_is_attacked_both_ways(experiment, tmp_path):
    torch.manual_seed(1)
    other = load_classifier("fashion-mnist-small")
    with torch.no_grad():
        other.head.weight += 0.3 * torch.randn_like(other.head.weight)
    save_weights(tmp_path / "other.safetensors", other, {})
    row = {"name": "other", "classifier": str(tmp_path / "other.safetensors")}
    plan = experiment(defenses=["none", row], query=[], checks=0, corruptions=[])
    found = run_experiment(plan, tmp_path / "run")
    transfer = found.row(defense="other", threat="transfer", attack="fgsm", eps=8)
    direct = found.row(defense="other", threat="oblivious", attack="fgsm", eps=8)
    assert transfer.detail == "made on fashion-mnist-small"
    assert transfer.correct != direct.correct
    assert not found.rows(defense="none", threat="transfer")


def test_one_attack_is_made_in_several_ways(experiment, place, tmp_path):
    fgsm, bim = ({"attack": name, "eps": [8]} for name in ("fgsm", "bim"))
    ways = [
        fgsm,
        {**fgsm, "rounded": False},
        {**fgsm, "made_on": str(place / "other.safetensors")},
        {**bim, "steps": 4},
        {**bim, "steps": 4, "step_size": 0.6},
    ]
    torch.manual_seed(1)
    other = load_classifier("fashion-mnist-small")
    with torch.no_grad():
        other.head.weight += 0.3 * torch.randn_like(other.head.weight)
    save_weights(place / "other.safetensors", other, {})
    plan = experiment(defenses=["none"], oblivious=ways, query=[], checks=0, corruptions=[])
    found = run_experiment(plan, tmp_path / "run")
    rounded, unrounded = found.rows(threat="oblivious", attack="fgsm")
    assert rounded.variant == ""
    assert unrounded.variant == "not rounded"
    assert unrounded.accuracy == rounded.unrounded_accuracy
    (made_on,) = found.rows(threat="transfer")
    assert made_on.variant == f"made on {place / 'other.safetensors'}"
    assert made_on.correct != rounded.correct
    usual, small = found.rows(attack="bim")
    assert (usual.variant, small.variant) == ("4 steps", "4 steps of 0.6/255")
    assert small.perturbation_psnr > usual.perturbation_psnr + 5
    assert found.row(attack="bim", variant="4 steps of 0.6/255") == small


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": 64}, r"crop: the images are 28x28 .*\.png\), 64 does not fit"),
        ({"adaptive": [{"attack": "pgd", "eps": [8], "images": 17}]}, "pgd: 17 images of a sample"),
        ({"defenses": ["rgb-12bpp"]}, "rgb-12bpp: images: have 1 channels"),
        ({"classifier": "cifar10-small"}, "images: have 1 channels, this classifier takes 3"),
        ({"defenses": ["magic"]}, "unknown defence 'magic'"),
    ],
)
def test_what_does_not_fit_is_one_line(experiment, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        Run(experiment(**change), tmp_path / "run")
    # What cannot start leaves nothing behind.
    assert not (tmp_path / "run" / "cells").exists()


def test_a_small_data_set_is_taken_whole_and_that_is_said(experiment, tmp_path):
    told = []
    opened = Run(experiment(images=200), tmp_path, progress=lambda label, *_: told.append(label))
    assert len(opened.data) == 20
    assert any("has 20 images; all are taken" in label for label in told)


NETWORKS = """
from comdefend.classifiers import Normalized
from comdefend.zoo import load_classifier
def plain(): return load_classifier("fashion-mnist-small")
def twice(): return Normalized(plain(), [0.5], [0.5])
def not_at_all(): return Normalized(plain(), [-1.0], [2.0])
"""


@pytest.mark.parametrize(
    ("classifier", "mean", "message"),
    [
        ("plain", None, None),
        ("plain", 0.5, "with mean and std undone; .*leave mean and std out"),
        ("twice", None, r"with the normalisation for \[-1, 1\] undone; .*normalise images twice"),
        ("not_at_all", None, "expect normalised images: give their mean and std"),
    ],
)
def test_a_wrong_normalisation_is_found_out(
    experiment, tmp_path, monkeypatch, classifier, mean, message
):
    (tmp_path / "range_networks.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    plan = experiment(
        classifier=f"range_networks:{classifier}", defenses=["none"], images=20, oblivious=[],
        adaptive=[{"attack": "fgsm", "eps": [8]}], query=[], corruptions=[], checks=0,
        mean=mean and [mean], std=mean and [0.25],
    )  # fmt: skip
    found = run_experiment(plan, tmp_path / "run")
    (check,) = (c for c in found.checks if "as it expects them" in c.name)
    assert check.passed is (message is None)
    if message:
        assert re.search(message, check.detail)


class Refusing(torch.nn.Module):
    """A classifier that refuses images in other ranges, or runs out of memory over them."""

    def __init__(self, error):
        super().__init__()
        self.classifier, self.error = load_classifier("fashion-mnist-small"), error

    def forward(self, images):
        if images.min() < 0:
            raise self.error
        return self.classifier(images)


def test_a_range_that_is_refused_counts_for_nothing_but_memory_must_not_run_out(
    experiment, tmp_path
):
    from comdefend.evaluation.given import Given

    plan = experiment(
        defenses=["none"], oblivious=[], query=[], corruptions=[], checks=0,
        adaptive=[{"attack": "fgsm", "eps": [8]}],
    )  # fmt: skip
    refusing = Given(classifier=Refusing(AssertionError("out of range")).eval())
    found = Run(plan, tmp_path / "a", given=refusing).measure()
    assert any("as it expects them" in check.name for check in found.checks)
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
    with pytest.raises(RuntimeError, match="can't allocate"):
        Run(plan, tmp_path / "b", given=Given(classifier=Refusing(error).eval())).measure()


def test_a_purifier_does_nothing_twice(experiment, place, tmp_path, monkeypatch):
    purified = []
    forward = ComDefend.forward

    def counted(self, images, *rest):
        if torch.is_inference_mode_enabled():
            purified.append(images.clone())
        return forward(self, images, *rest)

    monkeypatch.setattr(ComDefend, "forward", counted)
    plan = experiment(
        defenses=[str(place / "tiny.safetensors")], corruptions=[], checks=0, query=[],
        oblivious=[{"attack": "fgsm", "eps": [2, 8]}], adaptive=[{"attack": "fgsm", "eps": [8]}],
    )  # fmt: skip
    kept = run_experiment(plan, tmp_path / "kept")
    whole = [images for images in purified if len(images) == 16]
    # Clean, two bounds of FGSM and two of chance: for the rows, the PSNR, the code and detection.
    assert len(whole) == 5
    assert not any(a.equal(b) for i, a in enumerate(whole) for b in whole[:i])
    monkeypatch.setattr(judge, "Purified", lambda: Purified(limit=0))
    purified.clear()
    anew = run_experiment(plan, tmp_path / "anew")
    assert sum(len(images) == 16 for images in purified) > 5
    assert kept.defenses == anew.defenses
    assert untimed(kept) == untimed(anew)


def test_kept_images_are_judged_as_those_of_the_whole_pipeline(gray, fashion):
    images, keeps = fashion.images[:8], Purified()
    pipeline = DefendedClassifier(gray, fashion.classifier).eval()
    for _ in range(2):
        purified = keeps(gray, "gray", images, like=pipeline)
        logits = apply(fashion.classifier, purified, like=pipeline)
        assert logits.equal(apply(pipeline, images))


def test_kept_images_are_bounded_and_the_oldest_go_first():
    images = torch.rand(3, 1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
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


def test_one_image_is_too_few_for_detection_alone(experiment, tmp_path):
    plan = experiment(defenses=["none", "bits:3"], images=1, query=[], oblivious=[
        {"attack": "fgsm", "eps": [8]}], corruptions=[], checks=0)  # fmt: skip
    found = run_experiment(plan, tmp_path)
    assert found.defense("bits:3").detection.skipped == "1 of at least 4 images"


def test_why_a_random_defence_has_no_figure_of_hopskipjump(experiment, tmp_path):
    plan = experiment(
        defenses=["noise:0.05"], oblivious=[], corruptions=[], checks=0, images=4,
        query=[{"attack": "hopskipjump", "eps": [8], "steps": 1}],
    )  # fmt: skip
    found = run_experiment(plan, tmp_path)
    assert not found.rows(threat="query")
    (check,) = (c for c in found.checks if c.passed is None)
    assert check.name == "noise:0.05: hopskipjump 8/255, query"
    assert "a random defence has none" in check.detail


def test_images_attacked_alone_are_clipped_to_a_bound_without_another_attack(
    experiment, tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(
        attacker, "run_attack", lambda *a, **o: calls.append(a) or run_attack(*a, **o)
    )
    opened = Run(experiment(), tmp_path)
    free, clipped = (
        opened.attacker.alone(opened.main, "deepfool", eps, 5, 4) for eps in (None, 1.0)
    )
    assert len(calls) == 1
    images = opened.judge.images[:4]
    assert clipped.equal(free.clamp(images - 1 / 255, images + 1 / 255))
    assert isinstance(opened.store, Store)


def test_a_sample_is_resized_then_cropped(experiment):
    plan = experiment(resize=14, crop=12)
    data = take_sample(plan)
    assert data.images.shape == (16, 1, 12, 12)
    # The same images as without, in the same order.
    whole = take_sample(experiment())
    assert data.labels.equal(whole.labels)
    assert take_sample(plan, whole).images.shape == (16, 1, 12, 12)
