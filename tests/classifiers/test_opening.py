"""Classifiers by name."""

import pytest
import torch

import comdefend
from comdefend.classifiers import (
    CLASSIFIERS,
    ClassifierSpec,
    Normalized,
    check_classifier,
    known_preprocessing,
    open_classifier,
)
from comdefend.errors import InputError
from comdefend.zoo import save_weights


def test_shipped_classifiers_by_name_and_by_file(fashion, tmp_path):
    path = tmp_path / "mine.safetensors"
    save_weights(path, fashion.classifier, {})
    for spec in ("fashion-mnist-small", str(path)):
        classifier = open_classifier(spec)
        assert not classifier.training
        with torch.no_grad():
            wanted = fashion.classifier(fashion.images[:3])
            torch.testing.assert_close(classifier(fashion.images[:3]), wanted)


def test_the_network_of_pyautoattack():
    classifier = open_classifier("pyautoattack:resnet18")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert check_classifier(classifier, images, torch.tensor([0, 9])) == 10


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite1"])
def test_efficientnet_normalises_by_itself(name):
    classifier = open_classifier(name)
    assert isinstance(classifier, Normalized)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        raw = classifier.classifier((images - 127 / 255) / (128 / 255))
        torch.testing.assert_close(classifier(images), raw)
    assert raw.shape == (1, 1000)


def test_architectures_of_torchvision_and_timm(tmp_path):
    import timm
    from torchvision import models

    torch.manual_seed(0)
    made = {
        "torchvision:squeezenet1_1": models.squeezenet1_1(weights=None),
        "timm:test_resnet": timm.create_model("test_resnet"),
    }
    images = torch.rand(2, 3, 64, 64)
    for spec, network in made.items():
        torch.save(network.state_dict(), tmp_path / "net.pt")
        path = str(tmp_path / "net.pt")
        told: list[str] = []
        given = ClassifierSpec(spec, path, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 1))
        opened = open_classifier(given, told.append)
        assert not opened.training
        assert not told
        with torch.no_grad():
            shifted = (images - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor(
                [0.2, 0.2, 1]
            ).view(3, 1, 1)
            torch.testing.assert_close(opened(images), network.eval()(shifted))
        with pytest.raises(InputError, match=f"{spec} needs a checkpoint.*nothing is downloaded"):
            open_classifier(spec)


@pytest.mark.parametrize(
    "spec",
    ["torchvision:resnet1", "torchvision:deeplabv3_resnet50", "timm:resnet1", "timm:hf-hub:a/b",
     "timm:resnet18.nobody", "timm:", "torchvision:"],
)  # fmt: skip
def test_names_that_libraries_do_not_have_or_would_download(spec, tmp_path):
    with pytest.raises(InputError, match=r"has no classifier '.*'; see .*list_models"):
        open_classifier(ClassifierSpec(spec, str(tmp_path / "any.pt")))
    with pytest.raises(InputError, match=r"has no classifier"):
        known_preprocessing(spec)


@pytest.mark.parametrize("name", ["net", "instance"])
def test_the_users_own_network(own, images, name):
    classifier = open_classifier(f"own_networks:{name}")
    assert not classifier.training
    assert classifier(images).shape == (5, 4)
    with pytest.raises(InputError, match="own_networks:constant: must be a function or"):
        open_classifier("own_networks:constant")


def test_unknown_and_contradictory_requests(own, tmp_path):
    for spec in ("resnet50", "", ":net", "keras:net:3"):
        with pytest.raises(InputError, match=f"unknown classifier '{spec}'; known: ") as raised:
            open_classifier(spec)
        for known in (*comdefend.classifier_weights(), *CLASSIFIERS):
            assert known in str(raised.value)
    with pytest.raises(InputError, match="has its weights; leave the checkpoint out"):
        open_classifier(ClassifierSpec("fashion-mnist-small", str(tmp_path / "net.pt")))
    with pytest.raises(InputError, match="normalises images itself"):
        open_classifier(ClassifierSpec("efficientnet-lite0", mean=(0.5,) * 3, std=(0.5,) * 3))
    for mean, std, message in [
        ((0.5,), None, "mean and std go together"),
        ((0.5,), (0.5, 0.5), "a value for each channel, not 1 and 2"),
        ((), (), "a value for each channel"),
        ((float("nan"),), (1,), "mean must be finite"),
        ((0.5,), (0,), "std must be finite and above 0"),
    ]:
        with pytest.raises(InputError, match=message):
            open_classifier(ClassifierSpec("own_networks:net", mean=mean, std=std))
