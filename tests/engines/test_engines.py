import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from comdefend.common.processor import filter_bits, native_bf16, processor_class
from comdefend.defenses.randomized import dithered
from comdefend.engines import ENGINES, arrays, check_engine, choice, open_engine, pytorch
from comdefend.engines.open_vino import openvino_core
from comdefend.errors import EngineError, ExtraMissingError, InputError, InputTypeError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend

KINDS = [
    ("torch", "float32"), ("torch", "bfloat16"), ("onnxruntime", "float32"),
    ("openvino", "float32"), ("openvino", "bfloat16"), ("openvino", "int8"),
]  # fmt: skip


@pytest.fixture(scope="module")
def photo(chelsea):
    pixels = np.array(chelsea.crop((100, 50, 164, 98)))
    return torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).float() / 255


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    config = PurifierConfig(
        encoder_widths=(8,), decoder_widths=(8,), code_maps=6, downscale=2, reduction=2, rates=(3,)
    )
    purifier = ComDefend(config).eval()
    with torch.no_grad():
        purifier.encoder.layers[-1].weight.mul_(100)
    return purifier


@torch.no_grad()
def decided_images(purifier, shape):
    """Images with no logit so near 0 that rounding could turn its bit."""
    for seed in range(1000):
        images = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
        if purifier.logits(images).abs().min() > 1e-3:
            return images
    raise AssertionError("all images have undecided bits")


def opened(purifier, name, precision):
    if precision == "bfloat16" and not native_bf16("cpu"):
        pytest.skip("this processor lacks bfloat16")
    if precision == "int8" and filter_bits() is None:
        pytest.skip("this processor lacks sums of 8-bit products")
    return open_engine(purifier, name, precision, threads=1)


@pytest.mark.parametrize(("name", "precision"), KINDS)
def test_engines_agree_with_torch_on_a_photograph(rgb, photo, name, precision):
    check_engine(opened(rgb, name, precision), rgb, photo)


def test_every_engine_and_precision_is_compared_with_torch():
    there = {(name, p) for name, engine in ENGINES.items() for p in engine.precisions}
    assert {kind for kind in there if kind[0] != "torch-compiled"} == set(KINDS)


@pytest.mark.parametrize(
    "name",
    ["torch", "onnxruntime", "openvino", pytest.param("torch-compiled", marks=pytest.mark.slow)],
)
def test_any_size_and_batch_by_one_engine(tiny, name):
    if name == "torch-compiled" and shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    engine = opened(tiny, name, "float32")
    for shape in ((1, 3, 1, 1), (1, 3, 7, 12), (3, 3, 16, 5), (2, 3, 8, 8)):
        images = decided_images(tiny, shape)
        purified, code = engine(images), engine.encode(images)
        assert purified.shape == images.shape
        assert purified.dtype == code.dtype == torch.float32
        torch.testing.assert_close(purified, tiny(images).detach(), atol=1e-4, rtol=1e-4)
        assert torch.equal(code, tiny.encode(images))
        torch.testing.assert_close(engine.decode(code, shape[-2:]), purified, atol=1e-4, rtol=1e-4)
        assert torch.equal(engine(images.numpy()), purified)


def test_a_rate_has_its_engine(tiny):
    images = decided_images(tiny, (1, 3, 8, 8))
    engine = open_engine(tiny.at(0.75), "torch", "float32")
    assert engine.encode(images).shape == (1, 3, 4, 4)
    assert torch.equal(engine.encode(images), tiny.encode(images)[:, :3])


class Inverted(torch.nn.Module):
    def forward(self, logits, noise=None):
        return (logits <= 0).to(logits.dtype)


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_an_engine_has_the_binarizer_of_its_purifier(tiny, name):
    images, inverted = decided_images(tiny, (1, 3, 8, 8)), tiny.with_binarizer(Inverted())
    engine = open_engine(inverted, name, "float32")
    assert torch.equal(engine.encode(images), inverted.encode(images))
    torch.testing.assert_close(engine(images), inverted(images).detach(), atol=1e-4, rtol=1e-4)


def test_bad_images_are_refused_as_the_purifier_refuses_them(tiny):
    engine = open_engine(tiny, "torch", "float32")
    with pytest.raises(InputError, match="have 1 channels, these weights take 3"):
        engine(torch.rand(1, 1, 8, 8))
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        engine(torch.full((1, 3, 8, 8), 255.0))
    with pytest.raises(InputTypeError, match="divide by 255"):
        engine(np.zeros((1, 3, 8, 8), np.uint8))
    with pytest.raises(InputError, match="does not fit a code"):
        engine.decode(torch.zeros(1, 6, 4, 4), (9, 8))


def test_an_engine_of_other_weights_is_refused(tiny, photo):
    torch.manual_seed(1)
    other = ComDefend(tiny.config).eval()
    with pytest.raises(EngineError, match=r"'torch' in float32: \d+\.\d+% of the code's bits"):
        check_engine(open_engine(other, "torch", "float32"), tiny, photo)
    # The same code, but other images from it.
    other.encoder.load_state_dict(tiny.encoder.state_dict())
    with pytest.raises(EngineError, match=r"images are -?\d+\.\d dB from torch's, below 60 dB"):
        check_engine(open_engine(other, "torch", "float32"), tiny, photo)


def test_the_purifier_is_left_as_it_was(tiny):
    threads = torch.get_num_threads()
    engine = open_engine(tiny, "torch", "float32", threads=1)
    engine(torch.rand(1, 3, 8, 8))
    assert torch.get_num_threads() == threads
    assert all(p.requires_grad for p in tiny.parameters())
    assert tiny.decoder.layers[0].weight.is_contiguous()


def test_auto_takes_what_is_installed(tiny, monkeypatch):
    best = "bfloat16" if native_bf16("cpu") else "float32"
    engine = open_engine(tiny)
    assert (engine.name, engine.precision) == ("openvino", best)
    # Without its telemetry.
    assert sys.modules["openvino_telemetry"] is None
    assert engine.why.startswith(f"fastest first, openvino on {processor_class()} computes in ")
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)
    engine = open_engine(tiny)
    assert (engine.name, engine.precision) == ("torch", best)
    monkeypatch.setattr(choice, "native_bf16", lambda device: False)
    assert open_engine(tiny).precision == "float32"
    with pytest.raises(InputError, match="'bfloat16': this processor lacks it; take float32"):
        open_engine(tiny, "torch", "bfloat16")


def test_auto_takes_8_bit_integers_where_they_are_calibrated(gray, monkeypatch):
    for bits in (7, 8):
        monkeypatch.setattr(arrays, "filter_bits", lambda bits=bits: bits)
        monkeypatch.setattr(choice, "filter_bits", lambda bits=bits: bits)
        assert open_engine(gray).precision == "int8"
    monkeypatch.setattr(choice, "filter_bits", lambda: None)
    assert open_engine(gray).precision != "int8"
    with pytest.raises(InputError, match="'int8': this processor lacks it; take float32"):
        open_engine(gray, "openvino", "int8")


def test_compiling_needs_a_compiler(tiny, monkeypatch):
    monkeypatch.setattr(pytorch.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"needs a C\+\+ compiler, such as g\+\+; take torch"):
        open_engine(tiny, "torch-compiled")


def test_a_missing_engine_says_how_to_install_it(tiny, monkeypatch):
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ExtraMissingError, match=rf"{name} is not .*comdefend\[runtime\]"):
            open_engine(tiny, name)


def test_bad_choices_are_one_line(tiny):
    with pytest.raises(InputError, match="unknown engine 'tpu'; known: auto, torch, torch-"):
        open_engine(tiny, "tpu")
    with pytest.raises(InputError, match="precision of onnxruntime: auto, float32, not 'bfl"):
        open_engine(tiny, "onnxruntime", "bfloat16")
    with pytest.raises(InputError, match="threads must be at least 1, not 0"):
        open_engine(tiny, threads=0)
    with pytest.raises(InputError, match="training mode"):
        open_engine(ComDefend(tiny.config))
    with pytest.raises(InputError, match="Dither draws at random, which no engine does"):
        open_engine(dithered(tiny, 1.0))


def test_openvino_has_one_core():
    assert openvino_core() is openvino_core()


@pytest.mark.slow
def test_signals_are_answered_after_engines_are_gone():
    script = """
import gc, os, signal
import comdefend
from comdefend.engines import open_engine

first = open_engine(comdefend.load("gray-4bpp"), "openvino", "float32")
second = open_engine(comdefend.load("gray-2bpp-adversarial"), "openvino", "float32")
del first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGINT, lambda *_: print("answered"))
os.kill(os.getpid(), signal.SIGINT)
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (out.returncode, out.stdout) == (0, "answered\n"), out.stderr


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_threads_that_call_at_once_get_what_one_gets(tiny, name):
    engine = open_engine(tiny, name, "float32", threads=1)
    images = [decided_images(tiny, (1, 3, 8 + 4 * (n % 3), 16)) for n in range(24)]
    serial = [(engine(image), engine.encode(image)) for image in images]
    # Opened anew, so that its parts are opened by several threads too.
    engine = open_engine(tiny, name, "float32", threads=1)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: (engine(image), engine.encode(image)), images))
    for alone, found in zip(serial, together, strict=True):
        torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)
