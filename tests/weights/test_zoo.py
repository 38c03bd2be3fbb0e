import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import comdefend
from comdefend.errors import DataMissingError, InputError, WeightsError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.training.card import classifier_card, defense_card, purifier_card
from comdefend.weights import zoo

TINY = PurifierConfig(encoder_widths=(4,), decoder_widths=(4,), code_maps=2)


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.safetensors"
    zoo.save_weights(path, ComDefend(TINY), {"seed": 7})
    return path


def test_shipped_names():
    assert comdefend.weights() == [
        "gray-2bpp-adversarial", "gray-2bpp-robust", "gray-4bpp", "rgb-12bpp", "rgb-12bpp-lite",
        "rgb-3bpp-robust", "rgb-variable",
    ]  # fmt: skip
    assert comdefend.classifier_weights() == [
        "cifar10-adversarial", "cifar10-robust", "cifar10-small", "fashion-mnist-adversarial",
        "fashion-mnist-robust", "fashion-mnist-small",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["gray-4bpp", "rgb-12bpp", "rgb-12bpp-lite", "rgb-variable"])
def test_shipped_purifiers_have_a_card_and_record_of_their_training(name):
    record = comdefend.load_record(name)
    assert record["measured_on"] == "test"
    assert record["fidelity"]["images"] == 10_000
    assert sum(record["fidelity"]["z_shares"]) == pytest.approx(1)
    card = Path(zoo.__file__).with_name("weights") / f"{name}.md"
    assert card.read_text() == purifier_card(record)
    # The weights that the paper's authors released reach 30.65 and 28.9 on the same images.
    least = {"rgb-12bpp": 31.0, "gray-4bpp": 29.5, "rgb-12bpp-lite": 32.2, "rgb-variable": 29.0}[
        name
    ]
    assert record["fidelity"]["psnr"] >= least


@pytest.mark.parametrize("name", ["cifar10-small", "fashion-mnist-small"])
def test_shipped_classifiers_have_a_card_and_record_of_their_training(name):
    record = comdefend.load_record(name)
    assert record["measured_on"] == "test"
    assert record["images"] == 10_000
    card = Path(zoo.__file__).with_name("weights") / f"{name}.md"
    assert card.read_text() == classifier_card(record)
    assert record["accuracy"] >= {"cifar10-small": 0.89, "fashion-mnist-small": 0.93}[name]


@pytest.mark.parametrize(
    ("purifier", "classifier", "clean", "robust"),
    [
        ("gray-2bpp-robust", "fashion-mnist-robust", 0.89, 0.85),
        ("rgb-3bpp-robust", "cifar10-robust", 0.74, 0.37),
    ],
)
def test_shipped_pairs_have_a_card_and_record_of_their_training(
    purifier, classifier, clean, robust
):
    record = comdefend.load_record(classifier)
    assert comdefend.load_record(purifier) == record
    assert record["measured_on"] == "test"
    assert record["images"] == 10_000
    assert record["accuracy"] >= clean
    assert record["held_out_robust_accuracy"] >= robust
    for name in (purifier, classifier):
        card = Path(zoo.__file__).with_name("weights") / f"{name}.md"
        assert card.read_text() == defense_card(record)


@pytest.mark.parametrize(
    ("name", "clean", "robust"),
    [
        ("cifar10-adversarial", 0.77, 0.36), ("fashion-mnist-adversarial", 0.92, 0.86),
        ("gray-2bpp-adversarial", 0.86, 0.82),
    ],
)  # fmt: skip
def test_what_was_trained_against_attacks_alone_has_a_card_and_record_of_its_training(
    name, clean, robust
):
    record = comdefend.load_record(name)
    assert record["images"] == 10_000
    assert record["accuracy"] >= clean
    assert record["held_out_robust_accuracy"] >= robust
    card = Path(zoo.__file__).with_name("weights") / f"{name}.md"
    assert card.read_text() == defense_card(record)


def test_shipped_files_are_small():
    for file in Path(zoo.__file__).with_name("weights").glob("*.safetensors"):
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
        InputError, match="known: cifar10-adversarial, cifar10-robust, cifar10-small, fash"
    ):
        comdefend.load_classifier("rgb-12bpp")
    with pytest.raises(DataMissingError, match="no such weight file"):
        comdefend.load("nowhere/x.safetensors")


def test_a_changed_byte_in_a_shipped_file_is_noticed(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    shutil.copytree(Path(zoo.__file__).with_name("weights"), folder)
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


def test_a_header_is_not_believed(tiny):
    tensors = {k: v.contiguous() for k, v in ComDefend(TINY).state_dict().items()}

    def write(**metadata):
        save_file(tensors, tiny, metadata)

    write()
    with pytest.raises(WeightsError, match="holds no comdefend purifier"):
        comdefend.load(str(tiny))
    write(kind="purifier", config="[1]")
    with pytest.raises(WeightsError, match="no valid config"):
        comdefend.load(str(tiny))
    write(kind="purifier", config=json.dumps({**TINY.to_dict(), "encoder_widths": [10**9]}))
    with pytest.raises(WeightsError, match="encoder_widths must be an integer"):
        comdefend.load(str(tiny))
    write(kind="purifier", config=json.dumps({**TINY.to_dict(), "code_maps": 3}))
    with pytest.raises(WeightsError, match="do not fit its configuration"):
        comdefend.load(str(tiny))
    write(kind="purifier", config="[" * 100_000)
    with pytest.raises(WeightsError, match="no valid config"):
        comdefend.load(str(tiny))
    # Bounds alone would let this one allocate 19 GB.
    huge = {**TINY.to_dict(), "encoder_widths": [2048] * 64, "decoder_widths": [2048] * 64}
    write(kind="purifier", config=json.dumps(huge))
    with pytest.raises(WeightsError, match="do not fit its configuration"):
        comdefend.load(tiny)
    for config in ({"channels": "three"}, {"widths": [1.5, 2, 3, 4]}, {"mean": ["a", "b", "c"]}):
        write(kind="classifier", config=json.dumps(config))
        with pytest.raises(WeightsError, match="no valid config"):
            comdefend.load_classifier(tiny)
    with pytest.raises(WeightsError, match="no valid record"):
        comdefend.load_record(tiny)


def test_half_precision_files_load_in_single_precision(tmp_path):
    path = tmp_path / "half.safetensors"
    purifier = ComDefend(TINY)
    zoo.save_weights(path, purifier, {}, half=True)
    loaded = comdefend.load(str(path))
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, purifier.state_dict()[name], atol=1e-3, rtol=1e-3)


def test_a_rate_stands_behind_the_name(tmp_path):
    config = PurifierConfig(encoder_widths=(4,), decoder_widths=(4,), code_maps=6, rates=(2,))
    path = tmp_path / "a@b.safetensors"
    zoo.save_weights(path, ComDefend(config), {})
    assert zoo.load(path).config.bpp == 6
    assert zoo.load(f"{path}@2").config.bpp == 2
    assert zoo.load_purifying(f"{path}@2").config.bpp == 2
    with pytest.raises(InputError, match=r"rgb-12bpp@two: behind @ stand bits a pixel, not 'two'"):
        zoo.load("rgb-12bpp@two")
    with pytest.raises(InputError, match="work at 12 bits a pixel, not at 2"):
        zoo.load("rgb-12bpp@2")


def test_the_lite_network_gives_its_teachers_code_with_a_fifteenth_of_the_work():
    def work(config):
        channels = (config.encoder_channels, config.decoder_channels)
        products = sum(9 * a * b for layers in channels for a, b in pairwise(layers))
        return products / config.multiple**2

    lite, teacher = (comdefend.load(name) for name in ("rgb-12bpp-lite", "rgb-12bpp"))
    assert work(teacher.config) / work(lite.config) >= 15
    assert comdefend.load_record("rgb-12bpp-lite")["same_bits"] > 0.97
