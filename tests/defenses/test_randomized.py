import pytest
import torch

from comdefend.attacks import with_stand_in
from comdefend.defenses import Dithered, RandomRate, is_random, load_defense
from comdefend.errors import InputError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.weights.zoo import save_weights


@pytest.fixture
def nested(tmp_path):
    torch.manual_seed(0)
    config = PurifierConfig(
        1, encoder_widths=(8,), decoder_widths=(8,), code_maps=8, downscale=2, rates=(2, 4)
    )
    path = tmp_path / "nested.safetensors"
    save_weights(path, ComDefend(config), {})
    return path


def test_dither_turns_bits_near_the_threshold(gray, fashion):
    images, dithered = fashion.images[:4], load_defense("dither:20:gray-4bpp")
    assert isinstance(dithered, Dithered)
    assert is_random(dithered)
    torch.manual_seed(0)
    turned = dithered.encode(images) != gray.encode(images)
    near = gray.logits(images).abs() < 20
    assert turned[near].float().mean() > 0.15
    assert turned[~near].float().mean() < 0.1
    # Without noise worth the name it is the purifier itself.
    torch.testing.assert_close(Dithered(gray, 1e-9)(images), gray(images))


def test_every_image_draws_one_of_the_rates(nested):
    random_rate = load_defense(f"random-rate:{nested}")
    assert isinstance(random_rate, RandomRate)
    image = torch.rand(1, 1, 28, 28)
    whole = ComDefend.encode(load_defense(str(nested)), image)
    codes = random_rate.encode(image.expand(60, -1, -1, -1))
    ways = [torch.where(torch.arange(8).view(-1, 1, 1) < maps, whole[0], 0.0) for maps in (2, 4, 8)]
    drawn = [sum(code.equal(way) for code in codes) for way in ways]
    assert sum(drawn) == 60
    assert min(drawn) > 5


@pytest.mark.parametrize("form", ["dither:1:{}", "random-rate:{}", "noise:0.1|{}"])
def test_stand_ins_and_gradients_reach_through(nested, form):
    defense = load_defense(form.format(nested))
    assert is_random(defense)
    images = torch.rand(2, 1, 28, 28, requires_grad=True)
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
        ("random-rate:gray-4bpp", "these weights work at 4 bits a pixel alone"),
        ("noise:0.1|magic", "unknown defence 'magic'"),
    ],
)
def test_bad_use(spec, message):
    with pytest.raises(InputError, match=message):
        load_defense(spec)
