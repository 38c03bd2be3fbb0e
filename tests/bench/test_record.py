import statistics
from pathlib import Path

import msgspec
import pytest

from comdefend.bench.figures import FIGURES
from comdefend.bench.jobs import PHOTO
from comdefend.bench.ratios import ratios
from comdefend.bench.record import LeftOut, Peak, Record, Row, Subject, fastest, select
from comdefend.bench.tables import figure, markdown_table
from comdefend.common.json_files import load_json, save_json

SHIPPED = Path(__file__).parents[2] / "docs/records/bench-avx512.json"


def row(weights, engine, precision, seconds, kind="purifier", shape=(1, 3, 224, 224), **more):
    return Row(
        kind=kind,
        weights=weights,
        engine=engine,
        precision=precision,
        shape=shape,
        threads=2,
        seconds=statistics.median(seconds),
        seconds_quartiles=(min(seconds), max(seconds)),
        seconds_rounds=tuple(seconds),
        images_per_second=shape[0] / statistics.median(seconds),
        resident_mb=1000,
        **more,
    )


ROWS = (
    row("full", "torch", "float32", [4.0, 8.0, 4.0], gflop=100, share_of_peak=0.5,
        flipped_bits=0.0),
    row("full", "openvino", "bfloat16", [1.0, 2.0, 1.0], gflop=100, share_of_peak=0.7,
        flipped_bits=1e-3, psnr_to_float32=50.0),
    row("lite", "torch", "float32", [0.4, 0.8, 0.4], gflop=5, share_of_peak=0.2, flipped_bits=0.0),
    row("lite", "openvino", "bfloat16", [0.1, 0.2, 0.1], gflop=5, share_of_peak=0.3,
        flipped_bits=1e-3, psnr_to_float32=51.0),
    row("resnet50", "openvino", "bfloat16", [0.2, 0.4, 0.2], "classifier", gflop=8),
    row("jpeg:75", "Pillow", None, [0.01, 0.01, 0.01], "transform"),
    row("full", "torch", "float32", [0.1], gflop=2, shape=(1, 3, 32, 32), flipped_bits=0.0),
)  # fmt: skip
RECORD = Record(
    commit=None, versions={"torch": "2"}, device="cpu", architecture="x86_64", vectors="AVX512",
    flags=("avx512_bf16",), threads=2, rounds=3, torch_mb=300, peaks=(Peak("float32", 180.0),),
    rows=ROWS, ratios=tuple(ratios(ROWS)),
    left_out=tuple(
        LeftOut(weights=name, engine="tpu", precision="int8", shape=None, reason="not here")
        for name in ("full", "lite")
    ),
)  # fmt: skip


def test_the_shipped_record_loads_and_its_ratios_follow_from_its_rows():
    record = load_json(Record, SHIPPED)
    found, wanted = ratios(record.rows), list(record.ratios)
    assert [msgspec.structs.replace(r, value=0) for r in found] == [
        msgspec.structs.replace(r, value=0) for r in wanted
    ]
    assert [r.value for r in found] == pytest.approx([r.value for r in wanted])


def test_a_record_is_read_as_it_was_written(tmp_path):
    save_json(RECORD, tmp_path / "bench.json")
    assert load_json(Record, tmp_path / "bench.json") == RECORD


def test_rows_are_found_by_their_attributes():
    assert select(ROWS, weights="lite", engine="openvino") == [ROWS[3]]
    assert select(ROWS, size=(1, 32, 32)) == [ROWS[6]]
    assert fastest(ROWS, weights="full", size=PHOTO) is ROWS[1]
    assert fastest(ROWS, weights="full", size=(2, 224, 224)) is None


def test_ratios_pair_rounds_of_one_image_of_224():
    assert [(r.what, r.weights, r.value) for r in ratios(ROWS)] == [
        ("against_baseline", "full", 4.0),
        ("against_baseline", "lite", 40.0),
        ("against_resnet", "full", 0.2),
        ("against_resnet", "lite", 2.0),
        ("peak_bfloat16", "full", 0.7),
    ]
    assert ratios(ROWS)[1].to == Subject(weights="full", engine="torch", precision="float32")
    assert ratios(ROWS[-1:]) == []


def test_figures_have_three_digits_and_no_exponent():
    values = (1324.4, 99_960, 999.6, 99.96, 44.72, 0.7579, 0)
    wanted = ["1,320", "100,000", "1,000", "100", "44.7", "0.758", "0"]
    assert [figure(value) for value in values] == wanted


def test_the_table_says_what_the_record_says():
    text = markdown_table(RECORD)
    assert (
        "| 1 of 224x224 | lite | openvino bfloat16 | 10 | 100 (100 to 200) | – | 30% | 51.0 "
        "| 0.100% | 1,000 |"
    ) in text
    assert "| jpeg:75 | Pillow | 100 |" in text
    assert "- lite by openvino bfloat16: 40 times as fast as full by torch float32" in text
    assert "- full by openvino bfloat16: 70% of a matrix product's speed" in text
    assert "- full tpu int8, lite tpu int8: not here" in text


def test_figures_are_svg_with_a_curve_for_each_engine():
    for draw in FIGURES.values():
        text = draw(RECORD).svg
        assert "<svg" in text
        assert "full, torch float32" in text
