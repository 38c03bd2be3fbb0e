import msgspec
import pytest

from comdefend.certification.record import (
    Attacked,
    CertificationRecord,
    Image,
    levels_of,
    radii_within,
)
from comdefend.certification.settings import Settings
from comdefend.evaluation.record import Data
from comdefend.report.certified import certificate_html, certificate_table, certificate_text
from comdefend.report.certified_page import certified_curve, render_certificate

HOSTILE = "</script><script>window.owned=1</script>"


@pytest.fixture(scope="module")
def record():
    """Four images: three right ones with different radii, and an abstention."""
    images = tuple(
        Image(
            answer=1 if radius else None, guess=1, hits=90, draws=100, lower=0.8, radius=radius,
            stopped=False, seconds=1, label=1,
        )
        for radius in (0.6, 0.3, 0.1, 0.0)
    )  # fmt: skip
    attacked = (Attacked(smoothed="110", bare="100", contradicted=False),)
    radii = radii_within(0.7)
    return CertificationRecord(
        title="photo before net on cifar10, smoothed",
        settings=Settings(data="cifar10", classifier="net", defense="photo", sigma=0.25),
        data=Data(source="cifar10", split="test", images=4, seed=0, fingerprint="9f"),
        device="cpu", threads=1, versions={"torch": "2"}, commit=None, seconds=4, abstained=1,
        stopped=0, mean_radius=0.25, largest_radius=0.7, steps=20, draws=8, judged=1000,
        levels=levels_of(radii, 3072, images, attacked), images=images, attacked=attacked,
    )  # fmt: skip


def test_the_table_says_what_holds_at_each_radius(record):
    table = certificate_table(record)
    assert "| 0 | 0.00/255 | 75 % (30 to 95) | 100 % (21 to 100) | 100 % (21 to 100) |" in table
    assert "| 0.25 | 1.15/255 | 50 % (15 to 85) |" in table
    assert "| 0.5 | 2.30/255 | 25 % (5 to 70) |" in table
    assert "1 of 4 images got no answer" in table
    bare = msgspec.structs.replace(
        record, attacked=(), levels=levels_of((0.0,), 3072, record.images, ())
    )
    assert "ttacked" not in certificate_table(bare)
    assert "| 0 | 0.00/255 | 75 % (30 to 95) |\n" in certificate_table(bare)


def test_every_form_says_what_is_proven(record):
    for form in (certificate_table, certificate_text, certificate_html, render_certificate):
        text = " ".join(form(record).replace("│", "").split())
        assert "alters the answer of the smoothed classifier" in text, form
        assert "Nothing is proven of the classifier alone" in text, form


def test_the_curve_falls_where_radii_end(record):
    spec = certified_curve(record).spec
    (layered,) = spec["concat"]
    values = [row for layer in layered["layer"] for row in layer["data"]["values"]]
    curve = {row["x"]: row["y"] for row in values if row["series"] == "certified"}
    assert [curve[x] for x in sorted(curve)] == sorted(curve.values(), reverse=True)
    assert set(curve.values()) == {75, 50, 25, 0}
    points = [row for row in values if "accuracy" in row]
    assert {row["series"] for row in points} == {
        "certified", "smoothed, attacked", "classifier alone, attacked",
    }  # fmt: skip
    assert certified_curve(record).svg.startswith("<svg")


def test_texts_of_a_record_do_not_get_out_of_the_page(record):
    settings = msgspec.structs.replace(record.settings, defense=HOSTILE, classifier=HOSTILE)
    hostile = msgspec.structs.replace(record, settings=settings, title=HOSTILE)
    for html in (render_certificate(hostile), certificate_html(hostile)):
        assert HOSTILE not in html
    assert render_certificate(hostile).count("<script") == render_certificate(record).count(
        "<script"
    )
