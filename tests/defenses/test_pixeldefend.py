import pytest
import torch

from comdefend.defenses import DefendedClassifier, PixelDefend, load_defense
from comdefend.errors import InputError, InputTypeError
from comdefend.nn.batches import fingerprint
from comdefend.nn.logistics import PixelMixture
from comdefend.nn.pixelcnn import PixelCNN, PixelCNNConfig
from comdefend.zoo import save_weights


def model(channels=3, eps=16):
    """Random weights; in double precision, in which no two values are equally probable."""
    torch.manual_seed(0)
    return PixelCNN(PixelCNNConfig(channels, 6, 2, 3, eps)).double().eval()


def pixels(channels=3, height=5, width=6, count=2):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, channels, height, width), generator=generator)
    return images.double() / 255


def slowly(model, images):
    """Algorithm 1 of Song et al. 2018, with a pass over the whole image for every value."""
    values, eps = (images * 255).round().long(), model.config.eps
    count, channels, height, width = values.shape
    everything = torch.arange(256.0).double().expand(count, -1)
    for i in range(height):
        for j in range(width):
            for k in range(channels):
                mixture = PixelMixture(model(values.double() / 255)[:, i, j], channels)
                for known in range(k):
                    mixture.know(values[:, known, i, j].double())
                logs = mixture.log_probabilities(everything)
                for n in range(count):
                    low = max(int(values[n, k, i, j]) - eps, 0)
                    high = min(int(values[n, k, i, j]) + eps, 255)
                    values[n, k, i, j] = low + int(logs[n, low : high + 1].argmax())
    return values.double() / 255


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("eps", [1, 16, 200])
def test_it_is_algorithm_1(channels, eps):
    images, network = pixels(channels), model(channels, eps)
    with torch.no_grad():
        expected = slowly(network, images)
        found = PixelDefend(network)(images)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    assert (found - images).abs().max() <= eps / 255 + 1e-9
    assert not found.equal(images)


def test_images_become_more_probable():
    images, network = pixels(count=3), model()
    with torch.no_grad():
        purified = PixelDefend(network)(images)
        assert (network.bits_per_dimension(purified) < network.bits_per_dimension(images)).all()


def test_images_are_treated_alone_and_left_as_they_were():
    images, defense = pixels(), PixelDefend(model())
    before = images.clone()
    together = defense(images)
    assert images.equal(before)
    alone = torch.cat([defense(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-9, rtol=0)


def test_the_gradient_goes_straight_through():
    images, defense = pixels(1).requires_grad_(), PixelDefend(model(1))
    weights = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)).double()
    purified = defense(images)
    assert purified.detach().equal(defense(images.detach()))
    (purified * weights).sum().backward()
    assert images.grad.equal(weights)


def test_it_opens_by_its_weights(tmp_path):
    found = {}
    for eps in (8, 16):
        file = tmp_path / f"{eps}.safetensors"
        save_weights(file, model(1, eps).float(), {})
        found[eps] = load_defense(str(file))
        assert isinstance(found[eps], PixelDefend)
        assert not DefendedClassifier(found[eps], torch.nn.Identity().eval()).training
    # The same weights, but another defence: results of one must not pass for those of the other.
    assert fingerprint(found[8]) != fingerprint(found[16])


def test_bad_images():
    defense = PixelDefend(model(1).float())
    with pytest.raises(InputError, match="have 3 channels, these weights take 1"):
        defense(pixels(3).float())
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        defense(255 * pixels(1).float())
    with pytest.raises(InputTypeError, match="divide by 255"):
        defense((255 * pixels(1)).byte())
