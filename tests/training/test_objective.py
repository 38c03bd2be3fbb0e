import math

import pytest
import torch
import torch.nn.functional as F

from comdefend.training.objective import complement_loss, n_fgsm, ramped, training_attack


def test_complement_loss_by_hand():
    # The wrong classes share evenly: entropy log 3, over three wrong classes.
    even = complement_loss(torch.tensor([[9.0, 1.0, 1.0, 1.0]]), torch.tensor([0]))
    assert even.item() == pytest.approx(-math.log(3) / 3)
    # One wrong class has all.
    alone = complement_loss(torch.tensor([[0.0, 60.0, 0.0, 0.0]]), torch.tensor([0]))
    assert alone.item() == pytest.approx(0, abs=1e-6)
    # Probabilities 3/4 and 1/4 among two wrong classes.
    logits = torch.tensor([[5.0, math.log(3), 0.0]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert complement_loss(logits, torch.tensor([0])).item() == pytest.approx(-entropy / 2)


def test_complement_loss_pushes_wrong_classes_together_and_leaves_the_right_one_alone():
    logits = torch.tensor([[2.0, 3.0, -1.0, 0.0]], requires_grad=True)
    complement_loss(logits, torch.tensor([0])).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 0] == 0
    assert logits.grad[0, 1] > 0 > logits.grad[0, 2]


@pytest.mark.parametrize("steps", [1, 3])
def test_training_attacks_stay_in_their_ball_and_raise_the_loss(fashion, steps):
    images, labels, model = fashion.images[:16], fashion.labels[:16], fashion.classifier

    def attack(seed):
        generator = torch.Generator().manual_seed(seed)
        return training_attack(model, images, labels, 8, steps, generator)

    attacked = attack(0)
    assert (attacked - images).abs().max() <= 8 / 255 + 1e-6
    assert 0 <= attacked.min() <= attacked.max() <= 1
    assert torch.equal(attacked, attack(0))
    assert not torch.equal(attacked, attack(1))
    with torch.no_grad():
        clean, hard = (F.cross_entropy(model(part), labels) for part in (images, attacked))
    assert hard > clean


def test_a_single_step_overshoots_the_ball_and_is_clipped(fashion):
    images, labels = fashion.images[:4], fashion.labels[:4]
    attacked = training_attack(fashion.classifier, images, labels, 8, 1, torch.Generator())
    # From any start within 8/255, a step of 10/255 ends at 2/255 to 8/255 on the far side.
    change = (attacked - images)[(images > 0.1) & (images < 0.9)].abs() * 255
    assert ((change > 2 - 1e-3) | (change < 1e-3)).all()


def test_n_fgsm_steps_from_noise_and_does_not_return_to_the_ball(fashion):
    images, labels, model = fashion.images[:16], fashion.labels[:16], fashion.classifier
    attacked = n_fgsm(model, images, labels, 8, torch.Generator().manual_seed(3))
    # The formula: up to 2 eps of noise, then one step of eps, each clamped to [0, 1].
    noise = 2 * torch.rand(images.shape, generator=torch.Generator().manual_seed(3)) - 1
    start = (images + noise * 16 / 255).clamp(0, 1).requires_grad_()
    F.cross_entropy(model(start), labels).backward()
    expected = (start + start.grad.sign() * 8 / 255).clamp(0, 1)
    assert (attacked - expected).abs().max() < 1e-6
    assert 8 / 255 < (attacked - images).abs().max() <= 24 / 255 + 1e-6


@pytest.mark.parametrize(
    ("share", "progress", "eps"),
    [(0, 0, 8), (0.5, 0, 0), (0.5, 0.25, 4), (0.5, 0.5, 8), (0.5, 1, 8)],
)
def test_a_ramp_ends_at_the_bound(share, progress, eps):
    assert ramped(8, share, progress) == eps
