import pytest
import torch

from comdefend import ComDefend, PurifierConfig
from comdefend.errors import InputError
from comdefend.nn.binarize import threshold
from comdefend.nn.gray_code import Fold, Unfold


def words(bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the centres of all intervals, ascending, and their bits, (2^b, b)."""
    centres = torch.arange(2**bits) * 2 + 1 - 2.0**bits
    logits = Fold(bits)(centres.reshape(-1, 1, 1, 1))
    return centres, (logits > 0).float()


@pytest.mark.parametrize("bits", range(1, 9))
def test_bits_tell_the_interval(bits):
    _, code = words(bits)
    values = Unfold(bits)(code).flatten()
    assert values.tolist() == pytest.approx(torch.linspace(0, 1, 2**bits).tolist(), abs=1e-6)
    assert code[0].sum() == 0
    # Beyond the outermost thresholds nothing changes.
    beyond = Fold(bits)(torch.tensor([-1e6, 1e6]).reshape(-1, 1, 1, 1))
    assert Unfold(bits)((beyond > 0).float()).flatten().tolist() == [0, 1]


@pytest.mark.parametrize("bits", [2, 4])
def test_neighbours_differ_in_one_bit(bits):
    _, code = words(bits)
    assert len({tuple(word) for word in code.flatten(1).tolist()}) == 2**bits
    assert ((code[1:] != code[:-1]).flatten(1).sum(1) == 1).all()


def test_one_bit_is_the_sign():
    values = torch.randn(2, 3, 4, 4)
    assert Fold(1)(values).equal(values)
    assert Unfold(1)((values > 0).float()).equal((values > 0).float())


@pytest.mark.parametrize("bits", [2, 4])
def test_the_gradient_through_all_bits_points_upwards(bits):
    values = (torch.rand(1, 5, 4, 4) * 2 - 1) * 2**bits
    values.requires_grad_()
    Unfold(bits)(threshold(Fold(bits)(values))).sum().backward()
    assert values.grad is not None
    assert (values.grad > 0).all()


def test_a_shorter_code_is_a_prefix_of_whole_values():
    config = PurifierConfig(
        encoder_widths=(8,), decoder_widths=(8,), code_maps=16, downscale=4, value_bits=4,
        rates=(4, 8),
    )  # fmt: skip
    torch.manual_seed(0)
    purifier = ComDefend(config).eval()
    images = torch.rand(2, 3, 16, 16)
    code = purifier.encode(images)
    assert code.shape == (2, 16, 4, 4)
    shorter = purifier.at(0.5)
    assert shorter.encode(images).equal(code[:, :8])
    code[:, 8:] = 0
    # A value that is left out counts as the lowest.
    assert shorter(images).allclose(purifier.decode(code), atol=1e-6)


def test_values_have_whole_numbers_of_bits():
    with pytest.raises(InputError, match="6 maps are no whole number of values of 4 bits"):
        PurifierConfig(code_maps=8, value_bits=4, rates=(6,))
    with pytest.raises(InputError, match="value_bits must be 1 where the code is not binary"):
        PurifierConfig(code_maps=8, value_bits=4, binary=False)
    with pytest.raises(InputError, match="binary must be true or false"):
        PurifierConfig(binary="no")
    with pytest.raises(InputError, match="value_bits must be an integer from 1 to 8"):
        PurifierConfig(value_bits=9)
