import pytest

from comdefend.data.shipped import fashion_images
from tools.engine_equality import measure_set


@pytest.fixture(scope="module")
def measured():
    images, labels = fashion_images()
    return measure_set(
        "fashion-mnist", "fashion-mnist-small", ["gray-4bpp"], images[::20].float() / 255,
        labels[::20], engines=("torch",), precisions=("float32", "float8"),
    )  # fmt: skip


def test_torch_in_float32_equals_itself(measured):
    (row,) = measured.rows
    assert (row.weights, row.engine, row.precision) == ("gray-4bpp", "torch", "float32")
    # Another memory layout may round otherwise, and turn a bit whose logit is next to 0.
    assert row.psnr is None or row.psnr > 60
    assert row.flipped_bits < 1e-3
    assert abs(row.change.clean) <= 0.1
    assert abs(row.change.attacked) <= 0.1


def test_the_attack_is_made_on_the_bare_classifier(measured):
    (row,) = measured.rows
    assert measured.images == 10
    assert measured.bare.attacked < measured.bare.clean
    assert measured.bare.attacked < row.accuracy.attacked


def test_what_cannot_be_opened_is_named(measured):
    (left_out,) = measured.left_out
    assert left_out.precision == "float8"
    assert "float8" in left_out.reason
