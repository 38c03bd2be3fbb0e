import pytest
import torch

from comdefend.nn.loss import purifier_loss


def test_loss_by_hand():
    images = torch.zeros(2, 1, 1, 2)
    purified = torch.tensor([[0.5, 0.5], [0.0, 1.0]]).view(2, 1, 1, 2)
    code = torch.tensor([[1.0, 0.5], [0.0, 1.0]]).view(2, 1, 1, 2)
    loss = purifier_loss(images, purified, code, code_weight=0.1)
    # Squared errors 0.25 + 0.25 + 0 + 1 = 1.5, over 2N = 4; squared code 2.25 * 0.1 over N = 2.
    assert loss.reconstruction.item() == pytest.approx(0.375)
    assert loss.code.item() == pytest.approx(0.1125)
    assert loss.total.item() == pytest.approx(0.4875)


def test_loss_does_not_depend_on_the_batch_size():
    images, purified, code = torch.rand(3, 3, 4, 4), torch.rand(3, 3, 4, 4), torch.rand(3, 12, 4, 4)
    once = purifier_loss(images, purified, code)
    twice = purifier_loss(*(torch.cat([t, t]) for t in (images, purified, code)))
    torch.testing.assert_close(once.total, twice.total)


def test_balanced_images_count_by_their_psnr():
    images, code = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    scale = torch.tensor([0.5, 0.1], requires_grad=True)
    purified = scale.view(2, 1, 1, 1).expand(images.shape)
    loss = purifier_loss(images, purified, code, balanced=True)
    assert loss.total.item() == pytest.approx(purifier_loss(images, purified, code).total.item())
    (gradient,) = torch.autograd.grad(loss.total, scale)
    # Of log(scale), as PSNR has it: one step of either moves the loss by the same.
    ours = gradient * scale
    assert ours[0].item() == pytest.approx(ours[1].item())
