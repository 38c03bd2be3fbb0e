import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import comdefend
from comdefend import zoo
from comdefend.common.schema import build
from comdefend.data.shipped import fashion_images
from comdefend.defenses import DefendedClassifier
from comdefend.engines import formats
from comdefend.engines.export import MAX_ERROR, export
from comdefend.engines.formats import Saved, open_exported
from comdefend.errors import DataMissingError, EngineError, InputError, WeightsError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend

SERVED = """
import numpy as np, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession("purifier.onnx")
pixels = np.array(Image.open("photo.png").convert("RGB")).transpose(2, 0, 1)[None]
purified = session.run(None, {"images": pixels})[0]
Image.fromarray(purified[0].transpose(1, 2, 0)).save("clean.png")
"""
# The smallest.
WEIGHTS, WEIGHTS_GRAY = "rgb-3bpp-robust", "gray-2bpp-robust"


def power(output, expected):
    """Power of the difference, as a share: bits with logits near 0 may flip."""
    return np.square(output - expected).mean() / np.square(expected).mean()


@pytest.fixture(scope="module")
def images():
    return fashion_images()[0]


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory, images):
    """A shipped purifier, on bytes."""
    path = tmp_path_factory.mktemp("onnx") / "purifier.onnx"
    export(path, images, WEIGHTS, input="uint8")
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Weights with a downscale factor, two rates and few widths."""
    torch.manual_seed(0)
    config = PurifierConfig(
        encoder_widths=(8,), decoder_widths=(8,), code_maps=6, downscale=2, rates=(3,)
    )
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    purifier = ComDefend(config)
    with torch.no_grad():
        purifier.encoder.layers[-1].weight.mul_(100)
    zoo.save_weights(path, purifier, {})
    return path


def test_an_exported_file_works_without_comdefend_and_torch(onnx_file, chelsea, tmp_path):
    (tmp_path / onnx_file.name).write_bytes(onnx_file.read_bytes())
    photo = chelsea.crop((100, 50, 161, 97))
    photo.save(tmp_path / "photo.png")
    # Without site, the file that puts this source tree on the path is not read.
    packages = Path(onnxruntime.__file__).parents[1]
    check = "import importlib.util, sys\nassert importlib.util.find_spec('comdefend') is None\n"
    out = subprocess.run(
        [sys.executable, "-S", "-c", check + SERVED + "\nassert 'torch' not in sys.modules\n"],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(packages)},
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1).unsqueeze(0)
    with torch.no_grad():
        expected = comdefend.load(WEIGHTS)(pixels.float() / 255)[0].permute(1, 2, 0).numpy()
    with Image.open(tmp_path / "clean.png") as clean:
        assert power(np.array(clean) / 255, expected) < 1e-3


def test_metadata_says_what_a_file_is(onnx_file):
    metadata = open_exported(onnx_file).metadata
    assert metadata["weights"] == WEIGHTS
    assert metadata["sha256"] == zoo.checksum(WEIGHTS)
    assert build(PurifierConfig, metadata["config"], "config") == comdefend.load(WEIGHTS).config
    assert metadata["comdefend"] == comdefend.__version__
    assert {"commit", "part", "input"} < set(metadata)


def test_encoder_and_decoder_of_a_downscaled_code_at_a_rate(small, tmp_path, images):
    weights = f"{small}@0.75"
    purifier = zoo.load(weights)
    for name in ("encoder", "decoder"):
        export(tmp_path / f"{name}.xml", images, weights, name, input="uint8")
    encoder, decoder = (open_exported(tmp_path / f"{n}.xml") for n in ("encoder", "decoder"))
    assert encoder.metadata["weights"] == "small.safetensors@0.75"
    for shape in ((1, 3, 7, 12), (3, 3, 16, 9), (1, 3, 3, 3)):
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
        code = encoder.run(pixels.numpy())
        assert code.dtype == np.uint8
        logits = purifier.logits(pixels.float() / 255).detach().numpy()
        decided = np.abs(logits) > 1e-3
        assert np.array_equal(code[decided], logits[decided] > 0)
        assert decided.mean() > 0.9
        rebuilt = decoder.run(code)
        wanted = purifier.decode(torch.from_numpy(code).float()).detach() * 255
        assert rebuilt.dtype == np.uint8
        assert np.abs(rebuilt - wanted.numpy()).max() < 0.51


def test_a_defended_classifier(fashion, tmp_path, images):
    defended = DefendedClassifier(comdefend.load(WEIGHTS_GRAY), fashion.classifier)
    export(tmp_path / "x.onnx", images, WEIGHTS_GRAY, classifier="fashion-mnist-small")
    opened = open_exported(tmp_path / "x.onnx")
    assert opened.metadata["classifier"] == "fashion-mnist-small"
    with torch.no_grad():
        expected = defended(fashion.images[10:15])
    assert power(opened.run(fashion.images[10:15].numpy()), expected.numpy()) < 1e-3


def test_a_program_of_torch_export(small, tmp_path, images):
    done = export(tmp_path / "x.pt2", images, str(small))
    assert done.error <= MAX_ERROR
    program = torch.export.load(tmp_path / "x.pt2").module()
    photos = torch.rand(3, 3, 9, 14, generator=torch.Generator().manual_seed(0))
    expected = zoo.load(small)(photos).detach()
    assert power(program(photos).numpy(), expected.numpy()) < 1e-3


def test_a_file_that_differs_is_not_written(small, tmp_path, images, monkeypatch):
    def other(program, takes, gives, metadata):
        saved = formats._save_program(program, takes, gives, metadata)
        return Saved(saved.files, lambda values: saved.run(values) * np.float32(0.9))

    monkeypatch.setitem(formats.SAVE, ".pt2", other)
    with pytest.raises(EngineError, match=r"not written, since it differs .* by 0\.01 of"):
        export(tmp_path / "small.pt2", images, str(small))
    assert not list(tmp_path.iterdir())


def test_bad_choices_are_one_line(tmp_path, images, small):
    for arguments, message in (
        (("x.tflite", "rgb-12bpp"), r"x.tflite: must end in .onnx, .xml, .pt2"),
        (("x.pt2", "rgb"), "unknown weights 'rgb'"),
        (("x.pt2", "rgb-12bpp", "half"), "part must be one of purifier, encoder, decoder, not"),
        (("x.pt2", "rgb-12bpp", "encoder", "cifar10-small"), "needs the whole purifier"),
        (("x.pt2", "rgb-12bpp", "purifier", "nobody"), "unknown classifier 'nobody'"),
        (("x.pt2", "rgb-12bpp", "purifier", None, "half"), "input must be float or uint8"),
        # A classifier of grey images behind a purifier of colours.
        (("x.pt2", str(small), "purifier", "fashion-mnist-small"), "this classifier takes 1"),
    ):
        with pytest.raises(InputError, match=message):
            export(tmp_path / arguments[0], images, *arguments[1:])
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_one_line(onnx_file, tmp_path):
    data = onnx_file.read_bytes()
    path = tmp_path / "x.onnx"
    with pytest.raises(DataMissingError, match=r"x.onnx: no such exported file"):
        open_exported(path)
    for damaged in (b"", b"nonsense", data[: len(data) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"x.onnx: corrupt, not a model"):
            open_exported(path)
    ir = tmp_path / "x.xml"
    ir.write_text("<net>")
    with pytest.raises(DataMissingError, match=r"x.bin: no such exported file"):
        open_exported(ir)
    ir.with_suffix(".bin").touch()
    with pytest.raises(WeightsError, match=r"x.xml: corrupt, not a model") as caught:
        open_exported(ir)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"must end in .onnx or .xml to be opened"):
        open_exported(tmp_path / "x.pt2")
