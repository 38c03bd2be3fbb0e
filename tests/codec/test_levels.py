import numpy as np
import pytest
import torch

from comdefend.codec.levels import to_bits, to_levels
from comdefend.nn.gray_code import Fold, Unfold


@pytest.mark.parametrize("value_bits", [1, 2, 4, 8])
def test_bits_come_back(value_bits):
    bits = np.random.default_rng(0).integers(0, 2, (3 * value_bits, 5, 7), np.uint8)
    levels = to_levels(bits, value_bits)
    assert levels.shape == (3, 5, 7)
    assert levels.max() < 2**value_bits
    assert (to_bits(levels, value_bits) == bits).all()


def test_levels_are_the_intervals_of_the_values_from_the_lowest():
    # Four bits: intervals are 2 wide, the outermost have no end.
    values = torch.linspace(-17, 17, 35)[None, None, None]
    bits = (Fold(4)(values) > 0).to(torch.uint8)
    levels = to_levels(bits[0].numpy(), 4)
    expected = np.clip(np.ceil((values[0].numpy() + 16) / 2) - 1, 0, 15)
    inner = np.abs(values[0].numpy()) % 2 != 0  # on an edge either side is right
    assert (levels == expected)[inner].all()
    # And they are the values that the decoder sees, on its scale from 0 to 1.
    assert torch.allclose(Unfold(4)(bits.float())[0] * 15, torch.from_numpy(levels).float())
