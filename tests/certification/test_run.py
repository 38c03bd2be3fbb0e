import math

import pytest
import torch
from msgspec.structs import replace
from torch import nn

import comdefend
from comdefend.certification.record import (
    Attacked,
    Image,
    levels_of,
    linf_within,
    load_certification,
    radii_within,
)
from comdefend.certification.smoothing import Smoothed
from comdefend.errors import DataMissingError, InputError, InputTypeError
from comdefend.report.certified import certificate_table
from tests.certification.linear import Line


@pytest.fixture(scope="module")
def images(fashion):
    return fashion.images[::40], fashion.labels[::40]


def certify(fashion, images, **changes):
    options = {"defense": "bits:3", "sigma": 0.12, "n": 200, "attacked": 2}
    return comdefend.certify(fashion.classifier, *images, **{**options, **changes})


@pytest.fixture(scope="module")
def certificate(fashion, images):
    return certify(fashion, images)


def timeless(record):
    images = tuple(replace(image, seconds=0) for image in record.images)
    return replace(record, images=images, seconds=0)


def test_a_certificate_holds_every_image_and_says_what_is_proven(certificate, images):
    record = certificate.record
    assert sorted(image.place for image in certificate.images) == [0, 1, 2, 3, 4]
    assert all(image.label == images[1][image.place] for image in certificate.images)
    assert (record.settings.engine, record.settings.precision) == ("torch", "float32")
    for image in certificate.images:
        assert 0 <= image.hits <= image.draws <= 200
        assert 0 <= image.radius <= record.largest_radius
        assert (image.answer is None) == (image.radius == 0)
    right = [i.radius if i.answer == i.label else 0 for i in certificate.images]
    assert record.mean_radius == pytest.approx(sum(right) / 5)
    assert record.levels[0].certified.accuracy == sum(r > 0 for r in right) / 5
    assert len(record.attacked) == 2
    assert record.contradicted == 0
    assert "smoothed classifier, the majority of the answers of bits:3" in record.proven
    assert "under normal noise of sigma 0.12" in record.proven
    assert "with probability 99.9 %" in record.proven


def test_a_certificate_shows_itself(certificate):
    assert "Proven, for each image" in " ".join(repr(certificate).split())
    html = certificate._repr_html_()
    assert "<table" in html
    assert "<script" not in html


def test_a_certificate_is_saved_reported_and_loaded(certificate, tmp_path):
    certificate.save(tmp_path / "record.json")
    certificate.report(tmp_path / "report.html")
    assert comdefend.Certificate.load(tmp_path / "record.json").record == certificate.record
    assert "Proven, for each image" in (tmp_path / "report.html").read_text()
    (tmp_path / "other.json").write_text('{"format": 1}')
    with pytest.raises(InputError, match="not a record of a certification"):
        load_certification(tmp_path / "other.json")
    with pytest.raises(DataMissingError, match="no such record"):
        load_certification(tmp_path / "none.json")


class StopError(Exception):
    pass


def test_a_run_that_was_stopped_ends_with_the_same_record(
    fashion, images, certificate, tmp_path, monkeypatch
):
    def stop(label, done, total):
        if (label, done) in (("certifying", 2), ("attacking", 6)):
            raise StopError

    computed = []
    original = Smoothed.certify
    monkeypatch.setattr(
        Smoothed, "certify", lambda own, some: computed.append(len(some)) or original(own, some)
    )
    monkeypatch.setattr(Smoothed, "images_at_once", lambda *_: 1)
    with pytest.raises(StopError):
        certify(fashion, images, output=tmp_path, progress=stop)
    assert sum(computed) == 2
    # Then together.
    monkeypatch.setattr(Smoothed, "images_at_once", lambda *_: 3)
    for _ in range(2):
        again = certify(fashion, images, output=tmp_path)
        assert timeless(again.record) == timeless(certificate.record)
    assert sum(computed) == 5
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"images", "record.json", "table.md", "certified.svg", "report.html"}
    assert again.record == comdefend.Certificate.load(tmp_path / "record.json").record
    # More draws are another certificate.
    certify(fashion, images, n=300, attacked=0, output=tmp_path)
    assert sum(computed) == 10


def test_a_defended_classifier_is_taken_apart(fashion, images):
    defended = comdefend.DefendedClassifier(
        comdefend.load("gray-2bpp-robust"), fashion.classifier
    ).eval()
    one = [part[:1] for part in images]
    record = comdefend.certify(defended, *one, sigma=0.12, n=100, attacked=1, engine="torch").record
    assert record.settings.defense == "ComDefend"
    assert record.settings.engine == "torch"
    assert "ComDefend (computed by torch in float32) in front of" in record.proven
    bare = comdefend.certify(fashion.classifier, *one, sigma=0.12, n=100, attacked=0).record
    assert bare.settings.defense == "none"
    assert bare.levels[0].smoothed is bare.levels[0].bare is None
    assert "answers of SmallClassifier under" in bare.proven


def test_a_linear_classifier_is_certified_within_its_distance():
    line = Line()
    images = line.at(0.1, 0.2, -0.2)
    # 8 bits move the images a little.
    distances = ((images * 255).round() / 255 - 0.5).mul(line.normal.detach()).flatten(1).sum(1)
    record = comdefend.certify(line, images, [0, 0, 0], sigma=0.1, n=2000, attacked=3).record
    by_answer = sorted(record.images, key=lambda image: (image.answer, image.radius))
    assert [image.answer for image in by_answer] == [0, 0, 1]
    for image, distance in zip(by_answer, sorted(distances.abs().tolist()[:2]), strict=False):
        assert 0.8 * distance < image.radius < distance
    levels = {level.radius: level for level in record.levels}
    assert list(levels) == [0, 0.125, 0.25]
    assert [levels[r].certified.accuracy for r in levels] == pytest.approx([2 / 3, 1 / 3, 0])
    # What is attacked falls at its distance, not before.
    assert [levels[r].bare.accuracy for r in levels] == pytest.approx([2 / 3, 1 / 3, 0])
    for level in record.levels:
        assert level.certified.accuracy <= level.smoothed.accuracy <= level.bare.accuracy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": 0}, "sigma is for images in .0, 1., above 0 and at most 1, not 0"),
        ({"sigma": 64}, "for 64/255 write 0.251"),
        ({"sigma": math.nan}, "sigma: must be a finite number"),
        ({"n": 10}, "n must be from 100 to 10,000,000 draws, not 10"),
        ({"attacked": -1}, "attacked must not be negative"),
        ({"seed": -1}, "seed must be from 0"),
        ({"mean": [0.5]}, "mean and std: give both or neither"),
        ({"defense": "noise:0.1"}, "noise:0.1: the defence draws at random; a certificate needs"),
        ({"defense": "magic"}, "unknown defence 'magic'"),
        ({"engine": "openvino"}, "bits:3: engine 'openvino' in float32: only a ComDefend"),
        ({"defense": "gray-2bpp-robust", "engine": "tpu"}, "unknown engine 'tpu'"),
        ({"data": "mnist"}, "give either images and labels, or data"),
    ],
)
def test_mistakes_are_one_line(fashion, images, tmp_path, change, message):
    with pytest.raises(InputError, match=message) as caught:
        certify(fashion, images, output=tmp_path / "out", **change)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_classifiers_are_checked(images):
    with pytest.raises(InputTypeError, match="classifier must be an"):
        comdefend.certify(5, *images, sigma=0.1)
    trained = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).train()
    with pytest.raises(InputError, match="training mode"):
        comdefend.certify(trained, *images, sigma=0.1)


def found(label, answer, radius):
    return Image(
        answer=answer, guess=answer or 0, hits=9, draws=10, lower=0.6, radius=radius,
        stopped=False, seconds=1.0, label=label,
    )  # fmt: skip


def test_levels_count_right_answers_with_enough_radius():
    images = [found(1, 1, 0.3), found(1, 1, 0.1), found(1, 0, 0.4), found(1, None, 0.0)]
    attacked = [Attacked(smoothed="11", bare="10", contradicted=False)]
    none, quarter = levels_of((0.0, 0.25), 3072, images, attacked)
    assert (none.certified.accuracy, quarter.certified.accuracy) == (0.5, 0.25)
    assert (quarter.compared.accuracy, quarter.smoothed.accuracy, quarter.bare.accuracy) == (
        1,
        1,
        0,
    )
    assert quarter.smoothed.images == 1


def test_radii_are_quarters_or_finer():
    assert radii_within(1.1) == (0, 0.25, 0.5, 0.75, 1)
    assert radii_within(0.6) == (0, 0.25, 0.5)
    assert radii_within(0.3) == (0, 0.125, 0.25)


def test_an_l2_ball_holds_a_small_linf_ball():
    assert linf_within(0.25, 3072) == pytest.approx(1.15, abs=0.01)
    corner = torch.full((3, 32, 32), linf_within(0.25, 3072) / 255)
    assert corner.norm().item() == pytest.approx(0.25, abs=1e-5)


def test_a_contradiction_is_said_aloud(certificate):
    record = certificate.record
    wrong = replace(record, attacked=(replace(record.attacked[0], contradicted=True),))
    assert (
        "WARNING: an attack within the certified radius changed the answer of 1 of"
        in certificate_table(wrong)
    )
    assert "WARNING" not in certificate_table(record)
