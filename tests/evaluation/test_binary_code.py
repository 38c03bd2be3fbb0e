import pytest
import torch
from torch import nn

from comdefend.evaluation.binary_code import code_statistics, random_signs


class Scaled(nn.Module):
    """Passes a share of every value on, the image mirrored if so wanted."""

    def __init__(self, share, mirrored=False):
        super().__init__()
        self.share, self.mirrored = share, mirrored

    def logits(self, images):
        return images - 0.5

    def forward(self, images):
        return self.share * (images.flip(-1) if self.mirrored else images)


@pytest.fixture
def images():
    return 0.1 + 0.8 * torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_what_is_passed_on_and_kept(images, share):
    changed = [("random", 8, random_signs(images[:4], 8, seed=1))]
    (flip,) = code_statistics(Scaled(share), images, changed).flips
    assert flip.passed_on == pytest.approx(share, abs=1e-5)
    assert flip.kept == pytest.approx(share, abs=1e-5)


def test_a_perturbation_that_comes_out_elsewhere_is_passed_on_but_not_kept(images):
    changed = [("random", 8, random_signs(images, 8, seed=1))]
    (flip,) = code_statistics(Scaled(1.0, mirrored=True), images, changed).flips
    assert flip.passed_on == pytest.approx(1, abs=1e-5)
    assert abs(flip.kept) < 0.1


def test_random_signs_move_every_value_by_eps(images):
    moved = random_signs(images, 8, seed=1)
    torch.testing.assert_close((moved - images).abs(), torch.full_like(images, 8 / 255))
    assert 0.4 < (moved > images).float().mean() < 0.6


def test_the_shipped_purifier(gray, fashion):
    images = fashion.images[:8]
    found = code_statistics(gray, images, [("random", 8, random_signs(images, 8, seed=0))])
    assert 0 < found.ones < 1
    assert list(found.abs_z_quantiles) == sorted(found.abs_z_quantiles)
    (flip,) = found.flips
    assert 0 < flip.share < 0.5
    assert flip.kept <= flip.passed_on
