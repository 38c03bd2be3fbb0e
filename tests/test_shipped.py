"""The weights that ship, on real images: they must keep what their cards say."""

import pytest
import torch

import comdefend
from comdefend.attacks import run_attack
from comdefend.data.sources import load_image_set
from comdefend.engines import open_engine
from comdefend.training.measure import measure_accuracy, measure_fidelity


def test_gray_weights_on_the_shipped_images(gray, fashion):
    pixels = (fashion.images * 255).round().to(torch.uint8)
    fidelity = measure_fidelity(gray, pixels)
    record = comdefend.load_record("gray-4bpp")["fidelity"]
    assert fidelity.psnr == pytest.approx(record["psnr"], abs=0.3)
    assert fidelity.ms_ssim is None
    assert sum(fidelity.z_shares) == pytest.approx(1)


def test_rgb_weights_on_a_photograph(rgb, chelsea):
    square = torch.tensor(list(chelsea.crop((100, 50, 292, 242)).tobytes()), dtype=torch.uint8)
    pixels = square.view(192, 192, 3).permute(2, 0, 1).unsqueeze(0)
    fidelity = measure_fidelity(rgb, pixels)
    assert fidelity.psnr > 30
    assert fidelity.ms_ssim > 0.97


def test_the_fashion_classifier_on_the_shipped_images(fashion):
    labels = fashion.labels
    with torch.no_grad():
        hits = fashion.classifier(fashion.images).argmax(1) == labels
    assert hits.float().mean() > 0.88


def test_what_was_trained_against_attacks_on_the_shipped_images(fashion):
    labels = fashion.labels

    def right(defended, count=200):
        images, wanted = fashion.images[:count], labels[:count]
        found = run_attack(defended, images, wanted, "pgd", 8, 20)
        with torch.no_grad():
            return [(defended(x).argmax(1) == wanted).float() for x in (images, found)]

    # On fewer images: its network is slow, and the difference is large.
    _, published = right(fashion.defended, 50)
    for purifier, classifier in (
        ("gray-2bpp-robust", "fashion-mnist-robust"),
        ("gray-2bpp-adversarial", "fashion-mnist-small"),
    ):
        clean, left = right(
            comdefend.DefendedClassifier(
                comdefend.load(purifier), comdefend.load_classifier(classifier)
            )
        )
        assert clean.mean() > 0.85
        assert left.mean() > 0.75
        assert left[:50].mean() > published.mean() + 0.15


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rgb-12bpp", "cifar10"), ("rgb-12bpp-lite", "cifar10"), ("rgb-variable", "cifar10"),
        ("gray-4bpp", "fashion-mnist"), ("gray-2bpp-robust", "fashion-mnist"),
        ("gray-2bpp-adversarial", "fashion-mnist"),
        ("rgb-3bpp-robust", "cifar10"),
    ],
)  # fmt: skip
def test_purifiers_measure_what_their_record_says(data_folder, name, data):
    fidelity = measure_fidelity(comdefend.load(name), load_image_set(data, "test").images)
    record = comdefend.load_record(name)["fidelity"]
    assert fidelity.psnr == pytest.approx(record["psnr"], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data"), [("cifar10-small", "cifar10"), ("fashion-mnist-small", "fashion-mnist")]
)
def test_classifiers_measure_what_their_record_says(data_folder, name, data):
    classifier = comdefend.load_classifier(name)
    accuracy = measure_accuracy(classifier, load_image_set(data, "test"))
    assert accuracy == pytest.approx(comdefend.load_record(name)["accuracy"], abs=1e-3)


def most_changed(name, classifier, images, labels):
    """Return by how much the fastest engine changes an accuracy, clean or attacked, at most."""
    purifier = comdefend.load(name)
    engine = open_engine(purifier)
    attacked = run_attack(classifier, images, labels, "bim", 8, 10)
    changes = []
    with torch.inference_mode():
        for shown in (images, attacked):
            right = [classifier(by(shown)).argmax(1) == labels for by in (purifier, engine)]
            changes.append(abs(right[0].float().mean() - right[1].float().mean()).item())
    return max(changes)


def test_the_fastest_engine_keeps_the_accuracies(fashion):
    labels = fashion.labels
    assert most_changed("gray-4bpp", fashion.classifier, fashion.images, labels) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rgb-12bpp", "rgb-12bpp-lite", "rgb-variable"])
def test_the_fastest_engine_keeps_the_accuracies_on_cifar10(data_folder, name):
    sample = load_image_set("cifar10", "test").sample(300, 0)
    classifier = comdefend.load_classifier("cifar10-small")
    assert most_changed(name, classifier, sample.images.float() / 255, sample.labels) <= 0.011
