import io
import time

import numpy as np
import pytest
import torch
from PIL import Image

from comdefend.app import trial as trials
from comdefend.app.choices import CLASSIFIERS, OFFERED_ATTACKS, PURIFIERS, Chosen, rates
from comdefend.app.photograph import MAX_MEGAPIXELS, prepared, read_photograph
from comdefend.app.pictures import magnification, perturbation
from comdefend.app.trial import Seen, Trial, run_trial
from comdefend.app.view import page, result, verdict
from comdefend.data.image_files import quiet_decoders
from comdefend.data.listing import Wanted
from comdefend.errors import ImageError, InputError
from comdefend.evaluation.panels import Prediction

CHOSEN = Chosen("cifar10-small", "rgb-variable", 2, "pgd", 8)


def as_file(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def never():
    return False


def test_a_trial_tells_the_truth_step_by_step(coffee):
    told = []
    photograph = read_photograph(coffee)
    found = list(run_trial(photograph, CHOSEN, lambda *step: told.append(step), never))
    assert [(t.oblivious is None, t.adaptive is None) for t in found] == [
        (True, True), (False, True), (False, False),
    ]  # fmt: skip
    last = found[-1]
    assert last.clean.alone.right
    clean = last.clean.image
    network = trials.opened_classifier("cifar10-small").network
    purifier = trials.opened_purifier("rgb-variable", 2)
    for seen in (last.oblivious, last.adaptive):
        assert 0 < (seen.image - clean).abs().max() <= 8 / 255 + 1e-6
        # Each label belongs to the image beside it, and is right where it is the clean one.
        purified = purifier(seen.image[None])
        torch.testing.assert_close(seen.purified, purified[0])
        for image, said in ((seen.image[None], seen.alone), (purified, seen.defended)):
            shares = network(image).softmax(1)[0]
            assert said.confidence == pytest.approx(shares.max().item(), abs=1e-4)
            assert said.right == (said.label == last.clean.alone.label)
    # This small classifier does not survive ten steps of PGD by itself.
    assert not last.oblivious.alone.right
    assert not last.adaptive.defended.right
    assert [step for step in told if step[0] == "Attacking through the purifier"] == [
        ("Attacking through the purifier", done, 10) for done in range(10)
    ]


@pytest.mark.parametrize("attack", OFFERED_ATTACKS)
def test_every_attack_that_is_offered_stays_within_eps(coffee, attack):
    chosen = Chosen("cifar10-small", "photo", 1, attack, 3)
    *_, last = run_trial(read_photograph(coffee), chosen, lambda *step: None, never)
    for seen in (last.oblivious, last.adaptive):
        assert (seen.image - last.clean.image).abs().max() <= 3 / 255 + 1e-6


def test_a_trial_ends_when_nobody_waits_or_time_is_up(coffee, monkeypatch):
    photograph = read_photograph(coffee)
    steps = run_trial(photograph, CHOSEN, lambda *step: None, lambda: True)
    next(steps)
    with pytest.raises(InputError, match="stopped"):
        next(steps)
    monkeypatch.setattr(trials, "SECONDS", -1)
    steps = run_trial(photograph, CHOSEN, lambda *step: None, never)
    next(steps)
    with pytest.raises(InputError, match="take a smaller purifier"):
        next(steps)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("classifier", "my.module:network", "unknown classifier 'my.module:network'; known: eff"),
        ("purifier", "/etc/passwd", "unknown purifier"),
        ("attack", "autoattack", "unknown attack 'autoattack'; known: fgsm"),
        ("bpp", 3, "photo has 1, 2 bits per pixel, not 3"),
        ("eps", 0, "eps must be from 1 to 32, not 0"),
        ("eps", float("nan"), "eps must be from 1 to 32"),
    ],
)
def test_only_what_is_offered_can_be_chosen(field, value, message):
    fields = {"classifier": "efficientnet-lite0", "purifier": "photo", "bpp": 2.0,
              "attack": "pgd", "eps": 8.0}  # fmt: skip
    with pytest.raises(InputError, match=message):
        Chosen(**{**fields, field: value})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the photograph is empty"),
        (b"GIF89a", "the photograph cannot be read|is not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not an image of a handled format"),
        (as_file(Image.effect_noise((64, 64), 50))[:300], "cannot be read"),
        (as_file(Image.new("I;16", (8, 8))), "16 bits per channel"),
    ],
)
def test_what_is_no_photograph_is_refused_in_one_line(data, message):
    with pytest.raises(ImageError, match=message) as caught:
        read_photograph(data)
    assert "\n" not in str(caught.value)


def test_more_pixels_than_the_page_takes_are_refused_before_they_are_decoded():
    side = int((MAX_MEGAPIXELS * 1e6) ** 0.5) + 10
    bomb = as_file(Image.new("1", (side, side)))
    assert len(bomb) < 100_000
    begin = time.monotonic()
    with (
        quiet_decoders(MAX_MEGAPIXELS * 1e6),
        pytest.raises(ImageError, match="more than 50 megapixels, the most that this page takes"),
    ):
        read_photograph(bomb)
    assert time.monotonic() - begin < 2


def test_a_photograph_is_upright_square_and_as_the_classifier_takes_it():
    image = Image.new("RGB", (60, 40), "blue")
    image.paste("red", (0, 0, 30, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    photograph = read_photograph(as_file(image, "JPEG", exif=exif, quality=95))
    assert photograph.size == (40, 40)
    top, bottom = photograph.getpixel((20, 5)), photograph.getpixel((20, 35))
    assert top[0] > 200 > 50 > top[2]
    assert bottom[2] > 200 > 50 > bottom[0]
    tensor = prepared(photograph, Wanted(channels=3, resize=48, crop=32))
    assert tensor.shape == (1, 3, 32, 32)
    assert tensor.dtype == torch.float32
    # One row of pixels: resized as it is, it would need gigabytes.
    row = read_photograph(as_file(Image.new("RGBA", (100_000, 1))))
    assert prepared(row, Wanted(channels=3, resize=256, crop=224)).shape == (1, 3, 224, 224)


@pytest.mark.parametrize(("eps", "times"), [(1, 128), (8, 16), (32, 4)])
def test_the_perturbation_is_amplified_as_its_caption_says(eps, times):
    assert magnification(eps) == times
    clean = torch.full((3, 2, 2), 0.5)
    change = torch.tensor([eps, -eps, 0, eps / 2]).view(2, 2) / 255
    shown = perturbation(clean + change, clean, eps)
    np.testing.assert_allclose(shown[0].flatten(), [1, 0, 0.5, 0.75], atol=0.01)


def seen(alone="cat", defended="cat", clean="cat"):
    grey = torch.zeros(3, 4, 4)
    said = (Prediction(label, 0.5, label == clean) for label in (alone, defended))
    return Seen(grey, torch.zeros(5, 2, 2), grey, *said)


@pytest.mark.parametrize(
    ("trial", "said"),
    [
        (Trial(CHOSEN, seen()), "The classifier says “cat”."),
        (
            Trial(CHOSEN, seen(), seen("dog"), seen("dog", "fox")),
            "The classifier says “cat”. Attacked, it says “dog”; purified, the clean answer is "
            "back. An attacker who knows the purifier still gets “fox”: plan with that.",
        ),
        (
            Trial(CHOSEN, seen(), seen("dog", "fox"), seen()),
            "The classifier says “cat”. Attacked, it says “dog”; purified, it says “fox”. An "
            "attacker who knows the purifier can do that as well.",
        ),
        (
            Trial(CHOSEN, seen(), seen("dog"), seen()),
            "The classifier says “cat”. Attacked, it says “dog”; purified, the clean answer is "
            "back. An attacker who knows the purifier does not get through here; a stronger attack "
            "may.",
        ),
        (
            Trial(CHOSEN, seen("cat", "fox"), seen("cat", "fox")),
            "The purifier alone turns the answer from “cat” into “fox”. The attack does not "
            "change its answer; purified, it says “fox”.",
        ),
        (
            Trial(CHOSEN, seen(), seen()),
            "The classifier says “cat”. The attack does not change its answer.",
        ),
    ],
)
def test_the_verdict_says_what_came_of_it(trial, said):
    assert verdict(trial) == said


def test_labels_are_escaped_and_marked_by_more_than_colour():
    html = result(Trial(CHOSEN, seen(), seen("<script>alert(1)</script>")))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "✗" in html
    assert "Not the clean answer:" in html
    assert "frame-wrong" in html
    assert "amplified ×16" in html
    assert "Code, 5 of 5 maps" in html


def test_the_page_offers_what_can_be_chosen_and_no_other_rate():
    html = page()
    for name in (*CLASSIFIERS, *PURIFIERS, *OFFERED_ATTACKS):
        assert f'value="{name}"' in html
    assert rates("photo") == (1, 2)
    assert 'value="photo" data-rates="1.0 2.0"' in html
    assert "http://" not in html
    assert "https://" not in html
