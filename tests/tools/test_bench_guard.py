import msgspec
import pytest

from comdefend.bench.record import Ratio, Subject
from tools.bench_guard import moved


class Ratios(msgspec.Struct):
    """What is compared of a record."""

    ratios: tuple[Ratio, ...]


def ratio(weights, value, precision="int8"):
    to = Subject(weights=weights, engine="openvino", precision="float32")
    return Ratio(
        what="against_float32", value=value, weights=weights, engine="openvino",
        precision=precision, to=to,
    )  # fmt: skip


def test_what_got_worse_comes_first_and_only_what_both_have():
    old = Ratios((ratio("a", 2.0), ratio("b", 2.0), ratio("gone", 1.0)))
    new = Ratios((ratio("a", 3.0), ratio("b", 1.5), ratio("new", 1.0)))
    assert moved(new, old) == [
        "-25%: b by openvino int8: 1.5 times as fast as b by openvino float32",
        "+50%: a by openvino int8: 3 times as fast as a by openvino float32",
    ]


@pytest.mark.parametrize("other", ["bfloat16", "float32"])
def test_another_precision_is_another_ratio(other):
    assert moved(Ratios((ratio("a", 1.0),)), Ratios((ratio("a", 1.0, other),))) == []
