import torch
import torch.nn.functional as F

from comdefend.certification.attack import Adversary, MeanProbability, attack_within
from comdefend.certification.base import BaseClassifier
from comdefend.certification.record import Image
from comdefend.certification.smoothing import Smoothed
from tests.certification.linear import SIGMA, Line

LINE = Line()


def certified(distance, **changes):
    smoothed = Smoothed(BaseClassifier(None, LINE), SIGMA, 1000, 100, 0.001, 0)
    (found,) = smoothed.certify(LINE.at(distance))
    fields = {name: getattr(found, name) for name in found.__struct_fields__}
    return smoothed, Image(**{**fields, "label": 0, **changes})


def test_the_attack_crosses_a_boundary_that_is_within_reach_and_no_other():
    (image,) = LINE.at(0.1)
    state = torch.get_rng_state()
    for radius, falls in ((0.09, False), (0.11, True)):
        moved = attack_within(LINE, image, 0, radius, seed=3)
        assert (moved - image).norm() <= radius + 1e-5
        assert (LINE(moved.unsqueeze(0)).argmax(1) == 1) == falls
        assert moved.equal(attack_within(LINE, image, 0, radius, seed=3))
    assert torch.get_rng_state().equal(state)
    assert LINE.normal.grad is None
    assert LINE.normal.requires_grad


def test_the_objective_is_the_mean_probability_over_draws():
    images = LINE.at(0.02, 0.1).requires_grad_()
    soft = MeanProbability(LINE, SIGMA, 5)
    torch.manual_seed(0)
    loss = F.cross_entropy(soft(images), torch.tensor([0, 1]), reduction="sum")
    (slope,) = torch.autograd.grad(loss, images)
    torch.manual_seed(0)
    noise = SIGMA * torch.randn(10, 1, 4, 4).view(2, 5, 1, 4, 4)
    mean = [LINE(image + own).softmax(1).mean(0) for image, own in zip(images, noise, strict=True)]
    expected = -(mean[0][0].log() + mean[1][1].log())
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(slope, torch.autograd.grad(expected, images)[0])


def test_what_is_proven_stands_and_what_is_out_of_reach_falls():
    smoothed, image = certified(0.1)
    assert 0.08 < image.radius < 0.1
    found = Adversary(smoothed, LINE, (0.0, 0.08, 0.15, 0.2)).attack(LINE.at(0.1)[0], image)
    # Both are attacked at 0.1, where the boundary lies.
    assert (found.smoothed, found.bare) == ("1100", "1100")
    assert not found.contradicted


def test_a_certificate_that_is_wrong_is_noticed():
    smoothed, image = certified(0.1, radius=0.4)
    found = Adversary(smoothed, LINE, (0.0, 0.2)).attack(LINE.at(0.1)[0], image)
    assert found.contradicted


def test_a_wrong_answer_has_fallen_before_any_attack():
    smoothed, image = certified(0.1, label=1)
    found = Adversary(smoothed, LINE, (0.0, 0.05)).attack(LINE.at(0.1)[0], image)
    assert (found.smoothed, found.bare, found.contradicted) == ("00", "00", False)
