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
