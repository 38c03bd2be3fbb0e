import pytest
import torch

from comdefend.attacks import with_stand_in
from comdefend.defenses import dithered, is_random, load_defense, random_rate
from comdefend.errors import InputError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.zoo import save_weights

CONFIG = PurifierConfig(
    1, encoder_widths=(8,), decoder_widths=(8,), code_maps=8, downscale=2, rates=(2, 4)
)


@pytest.fixture
def nested():
    """A purifier with three rates; in double precision no rounding turns a bit."""
    torch.manual_seed(0)
    return ComDefend(CONFIG).double().eval()


def random_images(count):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 1, 28, 28, generator=generator, dtype=torch.float64)


def test_dither_binarizes_noisy_logits(nested):
    images, random = random_images(4), dithered(nested, 0.5)
    assert is_random(random)
    assert not is_random(nested)
    torch.manual_seed(2)
    found = random.encode(images)
    torch.manual_seed(2)
    logits = nested.logits(images)
    assert found.equal((logits + 0.5 * torch.randn_like(logits) > 0).double())
    assert random.logits(images).equal(logits)
    assert not random.encode(images).equal(found)


def test_each_image_draws_one_of_the_rates(nested):
    torch.manual_seed(3)
    image = random_images(1)
    whole = nested.encode(image)[0]
    codes = random_rate(nested).encode(image.expand(60, -1, -1, -1))
    ways = [torch.where(torch.arange(8).view(-1, 1, 1) < maps, whole, 0.0) for maps in (2, 4, 8)]
    drawn = [sum(code.equal(way) for code in codes) for way in ways]
    assert sum(drawn) == 60
    assert min(drawn) > 5


def test_a_lower_rate_of_a_random_rate_draws_no_more_maps(nested):
    codes = random_rate(nested).at(1).encode(random_images(1).expand(20, -1, -1, -1))
    assert codes.shape[1] == 4
    assert len({code[:2].sum().item() for code in codes}) == 1
    assert 1 <= len({code[2:].sum().item() for code in codes}) <= 2


def test_both_together(nested):
    images = random_images(2)
    both = dithered(random_rate(nested), 1e-9)
    torch.manual_seed(4)
    torch.randn_like(nested.logits(images))  # the dither draws first
    expected = random_rate(nested)(images)
    torch.manual_seed(4)
    torch.testing.assert_close(both(images), expected)


@pytest.mark.parametrize("form", ["dither:1:{}", "random-rate:{}", "noise:0.1|{}"])
def test_stand_ins_and_gradients_reach_through(nested, tmp_path, form):
    save_weights(tmp_path / "nested.safetensors", nested.float(), {})
    defense = load_defense(form.format(tmp_path / "nested.safetensors"))
    assert is_random(defense)
    images = random_images(2).float().requires_grad_()
    torch.manual_seed(1)
    plain = defense(images)
    torch.manual_seed(1)
    stood_in = with_stand_in(defense, "sigmoid-1")(images)
    torch.testing.assert_close(stood_in, plain)
    gradients = [torch.autograd.grad(x.sum(), images)[0] for x in (plain, stood_in)]
    assert not gradients[0].equal(gradients[1])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dither:0:gray-4bpp", "dither:0:gray-4bpp: std must be a finite number above 0"),
        ("dither:x:gray-4bpp", "unknown defence 'dither:x:gray-4bpp'"),
        ("dither:1:magic", "dither:1:magic: unknown weights 'magic'"),
        ("random-rate:gray-4bpp", "these weights work at 4 bits per pixel only"),
        ("noise:0.1|magic", "unknown defence 'magic'"),
    ],
)
def test_bad_use(spec, message):
    with pytest.raises(InputError, match=message):
        load_defense(spec)
