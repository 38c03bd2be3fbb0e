import sys
from importlib import resources

import numpy as np
import pytest
import torch

import comdefend
from comdefend.common.processor import filter_bits
from comdefend.engines import (
    calibrate,
    check_engine,
    load_calibration,
    open_engine,
    save_calibration,
)
from comdefend.engines.calibration import shipped_calibration
from comdefend.errors import DataMissingError, ExtraMissingError, InputError, WeightsError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend
from comdefend.zoo import load_arrays, split_rate


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    config = PurifierConfig(
        channels=1, encoder_widths=(16, 16), decoder_widths=(16, 16), code_maps=4
    )
    return ComDefend(config).eval()


@pytest.fixture(scope="module")
def calibration(tiny, fashion):
    return calibrate(tiny, fashion.images[:20], floats=["encoder.2"])


def test_layers_have_a_range_and_a_bias_unless_they_stay_in_floats(tiny, calibration):
    names = {key.rpartition(".")[0] for key in calibration}
    assert names == {"encoder.1", "decoder.0", "decoder.1", "decoder.2"}
    # Outputs of an ELU are above -1; a code is 0 or 1.
    low, high = calibration["encoder.1.range"].tolist()
    assert -1 <= low < 0 < high
    assert calibration["encoder.1.bias"].shape == (16,)
    assert calibration["decoder.0.range"].tolist() == [0, 1]


def test_by_default_the_small_layers_stay_in_floats(fashion):
    torch.manual_seed(0)
    config = PurifierConfig(
        channels=1, encoder_widths=(8, 8, 8), decoder_widths=(8, 8), code_maps=4, reduction=2
    )
    found = calibrate(ComDefend(config).eval(), fashion.images[:4])
    assert {key.rpartition(".")[0] for key in found} == {"encoder.2", "decoder.1"}


@pytest.mark.skipif(filter_bits() is None, reason="this processor lacks sums of 8-bit products")
def test_an_engine_in_8_bits_differs_by_what_they_cannot_hold(tiny, calibration, fashion):
    images = fashion.images[20:40]
    engine = open_engine(tiny, "openvino", "int8", threads=1, calibration=calibration)
    check_engine(engine, tiny, images)
    exact = open_engine(tiny, "openvino", "float32", threads=1)
    # Not float32 under another name.
    assert not torch.equal(engine(images), exact(images))


def test_a_calibration_survives_its_file_and_fits_no_other_weights(tiny, calibration, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_calibration(path, tiny.weights(), calibration, {"images": 20})
    found = load_calibration(tiny.weights(), path)
    assert set(found) == set(calibration)
    assert all(np.array_equal(found[key], calibration[key]) for key in found)
    torch.manual_seed(1)
    with pytest.raises(WeightsError, match="is the calibration of other weights"):
        load_calibration(ComDefend(tiny.config).weights(), path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match="corrupt"):
        load_calibration(tiny.weights(), path)
    with pytest.raises(DataMissingError, match="no such calibration"):
        load_calibration(tiny.weights(), tmp_path / "none.safetensors")


def test_calibrations_that_do_not_fit_are_refused(tiny, calibration):
    short = {**calibration, "encoder.1.bias": np.zeros(3)}
    extra = {**calibration, "encoder.7.range": np.zeros(2), "encoder.7.bias": np.zeros(16)}
    infinite = {**calibration, "encoder.1.bias": np.full(16, np.inf)}
    upside_down = {**calibration, "encoder.1.range": np.array([1.0, -1.0])}
    unpaired = {key: value for key, value in calibration.items() if key != "encoder.1.bias"}
    for wrong in (short, extra, infinite, upside_down, unpaired):
        with pytest.raises(WeightsError, match=r"calibration: .*does not fit"):
            open_engine(tiny, "openvino", calibration=wrong)


def test_every_shipped_purifier_has_its_calibration():
    calibrated = set(comdefend.weights())
    for name in calibrated:
        assert shipped_calibration(load_arrays(name)), name
    folder = resources.files("comdefend.engines") / "calibrations"
    shipped = [file.name for file in folder.iterdir() if file.name.endswith(".safetensors")]
    names = {split_rate(file.removesuffix(".safetensors"))[0] for file in shipped}
    assert names == calibrated


def test_what_is_missing_is_one_line(tiny, monkeypatch, fashion):
    assert shipped_calibration(tiny.weights()) is None
    if filter_bits() is not None:
        with pytest.raises(InputError, match="no calibration ships for these weights; make one"):
            open_engine(tiny, "openvino", "int8")
    with pytest.raises(InputError, match=r"no layers \['encoder.9'\]; the layers are encoder.0, "):
        calibrate(tiny, fashion.images[:2], floats=["encoder.9"])
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ExtraMissingError, match=r"nncf is not .*comdefend\[quantize\]"):
        calibrate(tiny, fashion.images[:2])
