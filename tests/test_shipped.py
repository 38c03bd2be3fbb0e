"""The shipped weights, on real images: they do what their records say."""

import pytest
import torch
from torchvision.models import resnet50

import comdefend
from comdefend.attacks import run_attack
from comdefend.bench.flops import network_flop, purifier_flop
from comdefend.data.sources import load_image_set
from comdefend.engines import open_engine
from comdefend.training.measure import measure_accuracy, measure_fidelity


def accuracy(classifier, images, labels):
    with torch.no_grad():
        return (classifier(images).argmax(1) == labels).float().mean().item()


def test_gray_weights_on_the_shipped_images(gray, fashion):
    pixels = (fashion.images[::4] * 255).round().to(torch.uint8)
    fidelity = measure_fidelity(gray, pixels)
    # The record's mean is over 10000 images, some of which are harder than others.
    record = comdefend.load_record("gray-4bpp")["fidelity"]
    assert fidelity.psnr == pytest.approx(record["psnr"], abs=1)
    assert fidelity.ms_ssim is None
    assert sum(fidelity.z_shares) == pytest.approx(1)


def test_rgb_weights_on_a_photograph(rgb, chelsea):
    square = torch.tensor(list(chelsea.crop((100, 50, 292, 242)).tobytes()), dtype=torch.uint8)
    pixels = square.view(192, 192, 3).permute(2, 0, 1).unsqueeze(0)
    fidelity = measure_fidelity(rgb, pixels)
    assert fidelity.psnr > 30
    assert fidelity.ms_ssim > 0.97


def test_the_fashion_classifier_on_the_shipped_images(fashion):
    record = comdefend.load_record("fashion-mnist-small")["accuracy"]
    measured = accuracy(fashion.classifier, fashion.images, fashion.labels)
    assert measured == pytest.approx(record, abs=0.06)


@pytest.mark.parametrize(
    ("purifier", "classifier"),
    [
        ("gray-2bpp-robust", "fashion-mnist-robust"),
        ("gray-2bpp-adversarial", "fashion-mnist-small"),
    ],
)
def test_pairs_trained_against_attacks_withstand_them(fashion, purifier, classifier):
    images, labels = fashion.images[::2], fashion.labels[::2]
    record = comdefend.load_record(purifier)
    pair = comdefend.DefendedClassifier(
        comdefend.load(purifier), comdefend.load_classifier(classifier)
    )
    # Of 100 images, chance moves an accuracy of 85 % by 3.6 points.
    assert accuracy(pair, images, labels) == pytest.approx(record["accuracy"], abs=0.1)
    attacked = run_attack(pair, images, labels, "pgd", 8, 10)
    robust = accuracy(pair, attacked, labels)
    assert robust == pytest.approx(record["held_out_robust_accuracy"], abs=0.1)
    bare = run_attack(fashion.classifier, images, labels, "pgd", 8, 10)
    assert accuracy(fashion.classifier, bare, labels) < robust - 0.25


@pytest.mark.parametrize("name", ["photo", "photo-clean"])
def test_purifiers_for_photographs_take_a_tenth_of_resnet50s_multiply_adds(name):
    shape = (1, 3, 224, 224)
    purifier = purifier_flop(comdefend.load(name).config, 1, 224, 224)
    # He et al. 2016 count 3.8 billion multiply-adds, torchvision's variant takes 4.1.
    assert purifier / network_flop(resnet50(), shape) == pytest.approx(0.1, abs=0.01)


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
    """Return the largest change of an accuracy, clean or attacked, by the fastest engine."""
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
    images, labels = fashion.images[::4], fashion.labels[::4]
    # Two of the 50 images, at most.
    assert most_changed("gray-4bpp", fashion.classifier, images, labels) <= 0.041


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rgb-12bpp", "rgb-12bpp-lite", "rgb-variable"])
def test_the_fastest_engine_keeps_the_accuracies_on_cifar10(data_folder, name):
    sample = load_image_set("cifar10", "test").sample(300, 0)
    classifier = comdefend.load_classifier("cifar10-small")
    assert most_changed(name, classifier, sample.images.float() / 255, sample.labels) <= 0.011
