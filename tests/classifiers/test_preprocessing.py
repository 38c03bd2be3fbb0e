"""How images are prepared for a classifier, as its library or its makers say."""

import pytest
import torch
from safetensors.torch import save_file

from comdefend.classifiers import (
    ClassifierSpec,
    Normalized,
    known_preprocessing,
    open_classifier,
)

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5,) * 3, (0.5,) * 3


@pytest.mark.parametrize(
    ("name", "resize", "crop", "mean", "std"),
    [
        # timm's crop_pct is 0.95, 0.9, and 0.875 of weights that came from torchvision.
        ("timm:resnet18", 235, 224, *IMAGENET),
        ("timm:vit_base_patch16_224", 248, 224, *HALF),
        ("timm:resnet18.tv_in1k", 256, 224, *IMAGENET),
        # Not square.
        ("timm:vit_5b_patch16_sapiens2", 0, 0, *IMAGENET),
        ("torchvision:resnet50", 232, 224, *IMAGENET),
        ("torchvision:inception_v3", 342, 299, *IMAGENET),
        ("efficientnet-lite0", 256, 224, None, None),
        ("efficientnet-lite1", 272, 240, None, None),
        ("pyautoattack:resnet18", 32, 32, None, None),
    ],
)
def test_what_is_known(name, resize, crop, mean, std):
    known = known_preprocessing(name)
    assert (known.resize, known.crop) == (resize, crop)
    assert (known.mean, known.std) == (mean, std)


def test_of_a_users_function_and_of_shipped_classifiers_nothing_is_known():
    assert known_preprocessing("my.models:resnet") is None
    assert known_preprocessing("cifar10-small") is None


def test_the_librarys_mean_and_std_are_the_default_and_a_line_says_so(tmp_path):
    import timm

    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=4).eval()
    save_file(network.state_dict(), path := tmp_path / "net.safetensors")
    told: list[str] = []
    opened = open_classifier(ClassifierSpec("timm:test_resnet", str(path)), told.append)
    (line,) = told
    assert line.startswith(
        "timm:test_resnet: images are normalised by mean 0.5,0.5,0.5 and std 0.5,0.5,0.5, as "
        "timm's configuration of test_resnet says"
    )
    assert isinstance(opened, Normalized)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(opened(images), network((images - 0.5) / 0.5))
