"""A graph written from configuration and weights computes what torch computes."""

import pytest
import torch

from comdefend import load
from comdefend.engines.arrays import open_byte_engine, open_part
from comdefend.engines.choice import Choice
from comdefend.errors import InputError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.images import to_bytes
from comdefend.nn.layout import tensor_shapes
from comdefend.nn.purifier import ComDefend
from comdefend.zoo import load_arrays, weights

CONFIGS = {
    "paper": PurifierConfig(encoder_widths=(8, 12), decoder_widths=(12, 8), code_maps=4),
    "grey": PurifierConfig(channels=1, encoder_widths=(8,), decoder_widths=(8,), code_maps=2),
    "blocks": PurifierConfig(
        encoder_widths=(8, 8, 8), decoder_widths=(8, 8, 8), code_maps=8, downscale=4,
        activation="gelu", residual=True, outer_kernel=1, value_bits=4,
    ),
    "reduced": PurifierConfig(
        encoder_widths=(8,), decoder_widths=(8,), code_maps=6, downscale=2, reduction=2,
        value_bits=2,
    ),
    "not binary": PurifierConfig(encoder_widths=(4,), decoder_widths=(4,), binary=False),
}  # fmt: skip


@pytest.fixture(params=CONFIGS)
def purifier(request):
    torch.manual_seed(0)
    made = ComDefend(CONFIGS[request.param]).eval()
    with torch.no_grad():
        # Logits far from 0, so that rounding turns no bit.
        made.encoder.layers[-1].weight.mul_(100)
    return made


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_every_architecture_as_a_graph(purifier, engine):
    config, stored = purifier.config, purifier.weights()
    side = 2 * config.multiple
    images = torch.rand(2, config.channels, side, 3 * side)
    with torch.inference_mode():
        logits = purifier.encoder(images)
        code = purifier.binarizer(logits)
        expected = {"encoder": logits, "decoder": purifier.decoder(code)}
    for part, values in (("encoder", images), ("decoder", code)):
        run = open_part(stored, part, Choice(engine, "float32"), None, 1)
        found = torch.from_numpy(run(values.contiguous().numpy()))
        torch.testing.assert_close(found, expected[part], atol=1e-4, rtol=1e-4)
    whole = open_part(stored, "purifier", Choice(engine, "float32"), None, 1)
    found = torch.from_numpy(whole(images.numpy()))
    # A bit whose logit rounding moved across 0 changes what is rebuilt around it.
    assert (found - expected["decoder"]).abs().median() < 1e-4


def test_shapes_are_those_of_the_network(purifier):
    state = {name: tuple(tensor.shape) for name, tensor in purifier.state_dict().items()}
    assert list(state.items()) == list(tensor_shapes(purifier.config).items())


def test_what_does_not_follow_from_the_weights_has_none(purifier):
    class Other(torch.nn.Module):
        def forward(self, logits, noise=None):
            return logits

    assert purifier.with_binarizer(Other()).weights() is None


def test_shipped_weights_are_the_same_as_arrays():
    for name in weights():
        stored, purifier = load_arrays(name), load(name)
        assert stored.digest == purifier.weights().digest
        for bpp in stored.config.bpps:
            assert stored.at(bpp).digest == purifier.at(bpp).weights().digest
    assert load_arrays("rgb-variable@2").config.bpp == 2


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (8, 8)])
def test_bytes_of_any_size_as_torch_purifies_them(size):
    torch.manual_seed(0)
    purifier = ComDefend(CONFIGS["blocks"]).eval()
    pixels = torch.randint(256, (3, 3, *size), dtype=torch.uint8)
    engine = open_byte_engine(purifier.weights(), "openvino", "float32")
    found, finite = engine.purify_bytes(pixels.numpy())
    assert finite.tolist() == [True] * 3
    with torch.inference_mode():
        expected = to_bytes(purifier(pixels.float() / 255))
    assert (torch.from_numpy(found).int() - expected.int()).abs().median() <= 1


def test_an_engine_that_needs_torch_is_refused():
    with pytest.raises(InputError, match="engine 'torch' needs a ComDefend"):
        open_byte_engine(load_arrays("gray-4bpp"), "torch")
