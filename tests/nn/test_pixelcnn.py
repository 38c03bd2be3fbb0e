import math

import pytest
import torch

from comdefend.common.schema import build
from comdefend.errors import InputError, WeightsError
from comdefend.nn.logistics import PixelMixture, log_likelihood, parameter_count
from comdefend.nn.pixelcnn import PixelCNN, PixelCNNConfig
from comdefend.zoo import load, load_purifying, save_weights

VALUES = torch.arange(256.0).double()


def small(channels=3, layers=2):
    """A model with random weights; in double precision, to compare it with itself."""
    torch.manual_seed(0)
    return PixelCNN(PixelCNNConfig(channels, width=6, layers=layers, mixtures=3)).double().eval()


def pixels(channels=3, height=9, width=11, count=1):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator) / 255.0


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [0.1, 1, 20])
def test_probabilities_of_all_values_sum_to_1(channels, scale):
    torch.manual_seed(0)
    parameters = scale * torch.randn(5, parameter_count(channels, 4)).double()
    mixture = PixelMixture(parameters, channels)
    for known in (3.0, 255.0, 0.0)[:channels]:
        found = mixture.log_probabilities(VALUES.expand(5, -1)).exp()
        torch.testing.assert_close(found.sum(1), torch.ones(5).double())
        mixture.know(torch.full((5,), known).double())


def test_a_single_logistic_by_hand():
    # Mean 0, scale 1/2: the mass between 127 and 129 is that between their outer borders.
    parameters = torch.tensor([0.0, 0.0, math.log(0.5)]).double()
    found = PixelMixture(parameters, 1).log_probabilities(VALUES).exp()

    def below(value):
        return 1 / (1 + math.exp(-(2 * value / 255 - 1) / 0.5))

    assert found[127:130].sum().item() == pytest.approx(below(129.5) - below(126.5))
    assert found[0].item() == pytest.approx(below(0.5))
    assert found[255].item() == pytest.approx(1 - below(254.5))


def test_colours_depend_on_the_ones_before_them():
    # Red anywhere, green and blue sharp around -tanh(9) and tanh(9) times what was before.
    parameters = torch.tensor([0, 0, 0, 0, 3, -5, -5, -9, 0, 9]).double()
    mixture = PixelMixture(parameters, 3)
    mixture.know(torch.tensor(200.0).double())
    assert mixture.log_probabilities(VALUES).argmax() == 55
    mixture.know(torch.tensor(60.0).double())
    assert mixture.log_probabilities(VALUES).argmax() == 60


def test_the_likelihood_is_the_product_over_colours_and_has_gradients():
    torch.manual_seed(0)
    parameters = torch.randn(2, parameter_count(3, 4)).double().requires_grad_()
    values = torch.tensor([[0.0, 7, 255], [255, 0, 128]]).double()
    mixture, total = PixelMixture(parameters, 3), torch.zeros(2).double()
    for channel in values.T:
        total = total + mixture.log_probabilities(channel[:, None])[:, 0]
        mixture.know(channel)
    found = log_likelihood(parameters, values)
    torch.testing.assert_close(found, total)
    assert torch.autograd.gradcheck(lambda p: log_likelihood(p, values), parameters)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pixel_depends_on_all_before_it_within_reach_and_on_none_after(channels):
    model, (row, column), (height, width) = small(channels, layers=2), (7, 6), (9, 13)
    images = pixels(channels, height, width).double().requires_grad_()
    model(images)[0, row, column].square().sum().backward()
    seen = images.grad[0].abs().sum(0) > 0
    up, left = model.config.reach
    for i in range(height):
        for j in range(width):
            sideways = model.config.layers + 1
            before = (i == row and column - left <= j < column) or (
                i == row - 1 and abs(j - column) <= sideways
            )
            if before:
                assert seen[i, j], (i, j)
            if (i, j) >= (row, column) or i < row - up or (i == row and j < column - left):
                assert not seen[i, j], (i, j)
    assert seen[row - up].any()


def test_no_later_value_changes_an_earlier_distribution():
    model, images = small(), pixels().double()
    changed = images.clone()
    changed[:, :, 4, 5:] = 1 - changed[:, :, 4, 5:]
    changed[:, :, 5:] = 1 - changed[:, :, 5:]
    before, after = model(images).flatten(1, 2), model(changed).flatten(1, 2)
    place = 4 * images.shape[-1] + 5
    assert after[:, : place + 1].equal(before[:, : place + 1])
    assert not after[:, place + 1].equal(before[:, place + 1])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_scan_finds_what_a_pass_over_the_whole_image_finds(channels):
    model, images = small(channels), pixels(channels, 5, 6, count=2).double()
    whole = model(images)
    visited = []
    for row, column, parameters in model.scan(images):
        torch.testing.assert_close(parameters, whole[:, row, column])
        visited.append((row, column))
    assert visited == [(i, j) for i in range(5) for j in range(6)]


def test_bits_per_dimension():
    model, images = small(1), pixels(1, 3, 4, count=2).double()
    parameters, values = model(images), (images * 255).round()
    total = torch.zeros(2).double()
    for i in range(3):
        for j in range(4):
            mixture = PixelMixture(parameters[:, i, j], 1)
            total -= mixture.log_probabilities(values[:, :, i, j])[:, 0] / math.log(2)
    torch.testing.assert_close(model.bits_per_dimension(images), total / 12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 2}, "channels must be 1"),
        ({"width": 0}, "width must be an integer from 1 to 2048"),
        ({"layers": 65}, "layers must be an integer from 1 to 64"),
        ({"mixtures": 10**6}, "mixtures must be an integer from 1 to 100"),
        ({"eps": 256}, "eps must be an integer from 1 to 255"),
        ({"depth": 3}, "unknown field 'depth'; known: channels"),
    ],
)
def test_bad_configurations(values, message):
    with pytest.raises(InputError, match=message):
        build(PixelCNNConfig, values, "network")


def test_weights_load_as_they_were_saved_and_are_no_comdefend(tmp_path):
    model, file = small().float(), tmp_path / "pixelcnn.safetensors"
    save_weights(file, model, {"seed": 7})
    opened, images = load_purifying(file), pixels()
    assert isinstance(opened, PixelCNN)
    assert opened.config == model.config
    assert opened(images).equal(model(images))
    with pytest.raises(WeightsError, match="holds no comdefend purifier"):
        load(file)
