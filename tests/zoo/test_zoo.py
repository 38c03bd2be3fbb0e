import json
import math
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import comdefend
from comdefend import zoo
from comdefend.common.defaults import RECOMMENDED
from comdefend.common.schema import to_plain
from comdefend.errors import DataMissingError, InputError, WeightsError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend

SHIPPED = Path(zoo.__file__).with_name("shipped")
TINY = PurifierConfig(encoder_widths=(4,), decoder_widths=(4,), code_maps=2)


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.safetensors"
    zoo.save_weights(path, ComDefend(TINY), {"seed": 7})
    return path


def test_shipped_names():
    assert comdefend.weights() == [
        "gray-2bpp-adversarial", "gray-2bpp-robust", "gray-3bpp-denoising", "gray-4bpp", "photo",
        "photo-clean", "photo-guided",
        "rgb-12bpp", "rgb-12bpp-adversarial", "rgb-12bpp-lite", "rgb-3bpp-denoising",
        "rgb-3bpp-robust", "rgb-variable",
    ]  # fmt: skip
    assert comdefend.classifier_weights() == [
        "cifar10-adversarial", "cifar10-denoised", "cifar10-robust", "cifar10-small",
        "fashion-mnist-adversarial", "fashion-mnist-robust", "fashion-mnist-small",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "psnr"),
    # The weights that the paper's authors released reach 30.65 and 28.9 on the same images.
    [("rgb-12bpp", 31.0), ("gray-4bpp", 29.5), ("rgb-12bpp-lite", 32.2), ("rgb-variable", 29.0)],
)
def test_shipped_purifiers_have_a_record_of_their_training(name, psnr):
    record = comdefend.load_record(name)
    assert record["measured_on"] == "test"
    assert record["fidelity"]["images"] == 10_000
    assert sum(record["fidelity"]["z_shares"]) == pytest.approx(1)
    assert record["fidelity"]["psnr"] >= psnr


@pytest.mark.parametrize(
    ("name", "clean", "robust"),
    [
        ("cifar10-small", 0.89, None), ("fashion-mnist-small", 0.93, None),
        ("fashion-mnist-robust", 0.89, 0.85), ("cifar10-robust", 0.74, 0.37),
        ("cifar10-adversarial", 0.77, 0.36), ("fashion-mnist-adversarial", 0.92, 0.86),
        ("gray-2bpp-adversarial", 0.86, 0.82),
    ],
)  # fmt: skip
def test_shipped_classifiers_have_a_record_of_their_training(name, clean, robust):
    record = comdefend.load_record(name)
    assert record["images"] == 10_000
    assert record["accuracy"] >= clean
    assert robust is None or record["held_out_robust_accuracy"] >= robust


@pytest.mark.parametrize(
    ("purifier", "classifier"),
    [("gray-2bpp-robust", "fashion-mnist-robust"), ("rgb-3bpp-robust", "cifar10-robust")],
)
def test_shipped_pairs_share_a_record(purifier, classifier):
    assert comdefend.load_record(purifier) == comdefend.load_record(classifier)


def test_shipped_files_are_small():
    for file in SHIPPED.glob("*.safetensors"):
        limit = 5e6 if file.stem in comdefend.classifier_weights() else 8e6
        assert file.stat().st_size < limit


def test_weights_load_as_they_were_saved(tiny):
    purifier = comdefend.load(str(tiny))
    assert purifier.config == TINY
    assert not purifier.training
    assert comdefend.load_record(str(tiny)) == {"seed": 7}


def test_unknown_names_list_the_known():
    with pytest.raises(
        InputError, match=r"unknown weights 'rgb'; known: gray-2bpp-adversarial, gray-2bpp-robust"
    ):
        comdefend.load("rgb")
    with pytest.raises(
        InputError,
        match="known: cifar10-adversarial, cifar10-denoised, cifar10-robust, cifar10-small",
    ):
        comdefend.load_classifier("rgb-12bpp")
    with pytest.raises(DataMissingError, match="no such weight file"):
        comdefend.load("nowhere/x.safetensors")


def test_a_changed_byte_in_a_shipped_file_is_noticed(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    shutil.copytree(SHIPPED, folder)
    monkeypatch.setattr(zoo, "_SHIPPED", folder)
    comdefend.load("gray-4bpp")
    file = folder / "gray-4bpp.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(WeightsError, match="corrupt, its SHA-256"):
        comdefend.load("gray-4bpp")
    file.unlink()
    with pytest.raises(WeightsError, match="missing from the installation"):
        comdefend.load("gray-4bpp")


def test_damaged_files_are_refused(tiny):
    data = tiny.read_bytes()
    for damaged in (b"", data[:100], data[:-4], b"\xff" * 8 + data[8:], b"PK\x03\x04" + data):
        tiny.write_bytes(damaged)
        with pytest.raises(WeightsError):
            comdefend.load(str(tiny))


def write(path, tensors=None, **metadata):
    if tensors is None:
        tensors = {k: v.contiguous() for k, v in ComDefend(TINY).state_dict().items()}
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    save_file(tensors, path, texts)
    return path


BASE = to_plain(TINY)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "holds no comdefend purifier"),
        ({"kind": "denoiser", "config": BASE}, "holds no comdefend purifier"),
        ({"kind": "purifier"}, "no valid config"),
        ({"config": [1]}, "no valid config"),
        ({"config": "[" * 100_000}, "no valid config"),
        ({"config": {**BASE, "encoder_widths": [10**9]}}, "encoder_widths must be an integer"),
        ({"config": {**BASE, "phi": math.nan}}, "no valid config"),
        ({"config": {**BASE, "phi": 10**400}}, "no valid config: phi: Number out of range"),
        ({"config": {**BASE, "surprise": 1}}, "unknown field 'surprise'; known: channels, enc"),
        ({"config": {**BASE, "code_maps": 3}}, "do not fit its configuration"),
        # The bounds alone would allow this one to allocate 19 GB.
        (
            {"config": {**BASE, "encoder_widths": [2048] * 64, "decoder_widths": [2048] * 64}},
            "do not fit its configuration",
        ),
    ],
)
def test_headers_are_not_trusted(tmp_path, metadata, message):
    known = {"kind": "purifier"} if "config" in metadata else {}
    path = write(tmp_path / "x.safetensors", **(known | metadata))
    with pytest.raises(WeightsError, match=message) as caught:
        comdefend.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"channels": "three"}, "channels: must be 'int'"),
        ({"widths": [1.5, 2, 3, 4]}, "must be 'int'"),
        ({"mean": ["a", "b", "c"]}, "must be 'float'"),
        ({"mean": [10**400, 0, 0]}, "Number out of range"),
        ({"mean": [1e300, 0, 0]}, "mean must be numbers from"),
        ({"std": [1e-60, 1, 1]}, "std must be numbers from 1e-06"),
        ({"std": [0.25]}, "std needs 3 values"),
    ],
)
def test_classifiers_with_impossible_configurations_are_refused(tmp_path, config, message):
    path = write(tmp_path / "x.safetensors", kind="classifier", config=config)
    with pytest.raises(WeightsError, match=message):
        comdefend.load_classifier(path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    purifier = ComDefend(TINY)
    with torch.no_grad():
        purifier.decoder.layers[0].bias[1] = value
    zoo.save_weights(tmp_path / "x.safetensors", purifier, {})
    with pytest.raises(WeightsError, match="holds weights that are infinite or not a number"):
        comdefend.load(tmp_path / "x.safetensors")


def test_a_record_that_is_no_record_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    for metadata in ({}, {"record": "[1]"}, {"record": "{"}):
        with pytest.raises(WeightsError, match="no valid record"):
            comdefend.load_record(write(path, kind="purifier", config=BASE, **metadata))


def test_the_recommended_weights_ship():
    stored, bpp = zoo.split_rate(RECOMMENDED)
    assert stored in comdefend.weights()
    # A name without a rate stands for the whole code.
    assert zoo.load(RECOMMENDED).config.bpp == (zoo.load(stored).config.bpp if bpp is None else bpp)


def test_names_can_be_listed_whatever_was_imported():
    import comdefend.zoo

    assert comdefend.weights() == zoo.weights()


def test_half_precision_files_load_in_single_precision(tmp_path):
    path = tmp_path / "half.safetensors"
    purifier = ComDefend(TINY)
    zoo.save_weights(path, purifier, {}, half=True)
    loaded = comdefend.load(str(path))
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, purifier.state_dict()[name], atol=1e-3, rtol=1e-3)


def test_a_rate_follows_the_name(tmp_path):
    config = PurifierConfig(encoder_widths=(4,), decoder_widths=(4,), code_maps=6, rates=(2,))
    path = tmp_path / "a@b.safetensors"
    zoo.save_weights(path, ComDefend(config), {})
    assert zoo.load(path).config.bpp == 6
    assert zoo.load(f"{path}@2").config.bpp == 2
    assert zoo.load_purifying(f"{path}@2").config.bpp == 2
    with pytest.raises(InputError, match=r"rgb-12bpp@two: after @ come bits per pixel, not 'two'"):
        zoo.load("rgb-12bpp@two")
    with pytest.raises(InputError, match="work at 12 bits per pixel, not at 2"):
        zoo.load("rgb-12bpp@2")


def test_the_lite_network_gives_its_teachers_code_with_a_fifteenth_of_the_work():
    def work(config):
        channels = (config.encoder_channels, config.decoder_channels)
        products = sum(9 * a * b for layers in channels for a, b in pairwise(layers))
        return products / config.multiple**2

    lite, teacher = (comdefend.load(name) for name in ("rgb-12bpp-lite", "rgb-12bpp"))
    assert work(teacher.config) / work(lite.config) >= 15
    assert comdefend.load_record("rgb-12bpp-lite")["same_bits"] > 0.97
