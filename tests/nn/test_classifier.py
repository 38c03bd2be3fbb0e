import pytest
import torch

from comdefend.errors import InputError
from comdefend.nn.classifier import ARCHITECTURES, ClassifierConfig, SmallClassifier
from comdefend.zoo import load_classifier, save_weights


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32)])
def test_every_architecture_classifies_and_keeps_its_weights(
    tmp_path, architecture, channels, side
):
    torch.manual_seed(0)
    mean, std = (0.5,) * channels, (0.25,) * channels
    config = ClassifierConfig(channels, 7, architecture, (4, 4, 8, 8), mean, std)
    classifier = SmallClassifier(config).eval()
    images = torch.rand(2, channels, side, side, requires_grad=True)
    logits = classifier(images)
    assert logits.shape == (2, 7)
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    # The last features see the whole image.
    assert (gradient != 0).float().mean() > 0.9

    save_weights(tmp_path / "c.safetensors", classifier, {})
    torch.testing.assert_close(load_classifier(tmp_path / "c.safetensors")(images), logits)


def test_resnet50_is_the_one_of_the_literature():
    config = ClassifierConfig(architecture="resnet50", widths=(64, 128, 256, 512))
    with torch.device("meta"):
        classifier = SmallClassifier(config)
    layers = [m for m in classifier.modules() if isinstance(m, torch.nn.Conv2d)]
    # 49 convolutions on the way, 4 shortcuts; 23.5 million parameters (He et al. 2016, Table 1,
    # without the linear layer and with a 3x3 stem).
    assert len(layers) == 49 + 4
    assert sum(p.numel() for p in classifier.parameters()) == pytest.approx(23.5e6, rel=0.01)


def test_unknown_architectures_are_refused():
    with pytest.raises(InputError, match="unknown architecture 'alexnet'; known: resnet9, vgg"):
        ClassifierConfig(architecture="alexnet")
