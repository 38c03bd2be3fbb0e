import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from comdefend.common.processor import native_bf16, native_int8
from comdefend.defenses.randomized import Dithered
from comdefend.engines import check_engine, engines, open_engine
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
    return ComDefend(config).eval()


def opened(purifier, name, precision):
    if precision == "bfloat16" and not native_bf16("cpu"):
        pytest.skip("this processor lacks bfloat16")
    if precision == "int8" and not native_int8():
        pytest.skip("this processor lacks sums of 8-bit products")
    return open_engine(purifier, name, precision, threads=1)


@pytest.mark.parametrize(("name", "precision"), KINDS)
def test_engines_agree_with_torch_on_the_shipped_images(gray, fashion, name, precision):
    engine = opened(gray, name, precision)
    found = check_engine(engine, gray, fashion.images[:20])
    # Far closer than the bounds: what rounding alone explains.
    assert found.psnr > {"float32": 90, "bfloat16": 43, "int8": 41}[precision]
    assert found.flipped < {"float32": 1e-5, "bfloat16": 6e-3, "int8": 6e-3}[precision]


@pytest.mark.parametrize(("name", "precision"), KINDS)
def test_engines_agree_with_torch_on_a_photograph(rgb, photo, name, precision):
    engine = opened(rgb, name, precision)
    found = check_engine(engine, rgb, photo)
    assert found.psnr > {"float32": 90, "bfloat16": 46, "int8": 43}[precision]
    assert found.flipped < {"float32": 1e-5, "bfloat16": 4e-3, "int8": 6e-3}[precision]


@pytest.mark.parametrize(
    "name",
    ["torch", "onnxruntime", "openvino", pytest.param("torch-compiled", marks=pytest.mark.slow)],
)
def test_any_size_and_batch_by_one_engine(tiny, name):
    if name == "torch-compiled" and shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    engine = opened(tiny, name, "float32")
    for shape in ((1, 3, 1, 1), (1, 3, 7, 12), (3, 3, 16, 5), (2, 3, 8, 8)):
        images = torch.rand(shape)
        purified, code = engine(images), engine.encode(images)
        assert purified.shape == images.shape
        assert purified.dtype == code.dtype == torch.float32
        torch.testing.assert_close(purified, tiny(images).detach(), atol=1e-5, rtol=1e-4)
        assert torch.equal(code, tiny.encode(images))
        assert torch.equal(engine.decode(code, shape[-2:]), purified)
        assert torch.equal(engine(images.numpy()), purified)


def test_a_rate_has_its_engine(tiny):
    images = torch.rand(1, 3, 8, 8)
    engine = open_engine(tiny.at(0.75), "torch", "float32")
    assert engine.encode(images).shape == (1, 3, 4, 4)
    assert torch.equal(engine.encode(images), tiny.encode(images)[:, :3])


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
    # The same code, rebuilt otherwise.
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


def test_auto_takes_what_is_there(tiny, monkeypatch):
    best = "bfloat16" if native_bf16("cpu") else "float32"
    engine = open_engine(tiny)
    assert (engine.name, engine.precision) == ("openvino", best)
    # Imported without what tells its makers so by network.
    assert sys.modules["openvino_telemetry"] is None
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    engine = open_engine(tiny)
    assert (engine.name, engine.precision) == ("torch", best)
    monkeypatch.setattr(engines, "native_bf16", lambda device: False)
    assert open_engine(tiny).precision == "float32"
    with pytest.raises(InputError, match="'bfloat16': this processor lacks it; take float32"):
        open_engine(tiny, "torch", "bfloat16")


def test_auto_takes_8_bit_integers_where_they_are_calibrated(gray, monkeypatch):
    monkeypatch.setattr(engines, "native_int8", lambda: True)
    assert open_engine(gray).precision == "int8"
    monkeypatch.setattr(engines, "native_int8", lambda: False)
    assert open_engine(gray).precision != "int8"
    with pytest.raises(InputError, match="'int8': this processor lacks it; take float32"):
        open_engine(gray, "openvino", "int8")


def test_compiling_needs_a_compiler(tiny, monkeypatch):
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
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
    with pytest.raises(InputError, match="Dithered draws at random, which no engine does"):
        open_engine(Dithered(tiny, 1.0))


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
