import pytest
import torch
from torch import nn
from torchvision.transforms.v2 import functional

import comdefend
from comdefend.defenses import DefendedClassifier
from comdefend.errors import InputError


class Seen(nn.Module):
    """Keeps what it is given."""

    def forward(self, images):
        self.images = images
        return images.flatten(1)[:, :10]


@pytest.mark.parametrize("size", [(40, 61), (61, 40)])
def test_large_images_are_shrunk_before_they_are_purified(size):
    purifier, classifier = comdefend.load("rgb-12bpp-lite"), Seen()
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    DefendedClassifier(purifier, classifier, resize=32)(images)
    small = functional.resize(images, 32, antialias=True)
    torch.testing.assert_close(classifier.images, purifier(small), atol=1e-4, rtol=0)


def test_the_gradient_goes_through_the_resizing():
    images = torch.rand(1, 3, 64, 48, requires_grad=True)
    defended = DefendedClassifier(comdefend.load("rgb-12bpp-lite"), Seen(), resize=32)
    defended(images).sum().backward()
    assert images.grad.shape == images.shape
    assert images.grad.abs().sum() > 0


def test_small_images_stay_as_they_are():
    classifier, images = Seen(), torch.rand(1, 3, 30, 20)
    DefendedClassifier(nn.Identity(), classifier, resize=20)(images)
    assert classifier.images is images
    with pytest.raises(InputError, match="resize must not be negative: -2"):
        DefendedClassifier(nn.Identity(), classifier, resize=-2)
