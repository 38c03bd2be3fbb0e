import json
import re

import msgspec
import pytest

from comdefend.evaluation.record import load_record
from comdefend.report import charts, figures
from comdefend.report.classes import class_changes


def values_of(figure, panel=0):
    """The rows that a panel shows; what all layers or panels share stands above them."""

    def collect(part):
        found = part.get("data", {}).get("values", [])
        return found + [row for layer in part.get("layer", []) for row in collect(layer)]

    return figure.spec.get("data", {}).get("values", []) + collect(figure.spec["concat"][panel])


def titles_of(figure):
    return [panel["title"]["text"] for panel in figure.spec["concat"]]


@pytest.mark.parametrize("count", [2, 13])
def test_no_two_series_look_the_same_even_without_colour(count):
    names = ["none", *(f"defence {i}" for i in range(1, count))]
    looks = charts.styles(names, "none")
    assert list(looks) == names
    assert len({(style.shape, style.dash) for style in looks.values()}) == count
    assert len(set(looks.values())) == count


def test_figures_of_equal_records_are_equal_and_self_contained(real):
    again = msgspec.json.decode(msgspec.json.encode(real), type=type(real))
    for draw in (figures.accuracy_without_eps, figures.reconstruction):
        svg = draw(real).svg
        assert svg == draw(again).svg
        assert svg.startswith('<svg role="img" aria-label="')
        assert ">rgb-12bpp<" in svg
        assert not re.search(r'href=|url\(|<image|<script|<style| id="', svg)


@pytest.mark.parametrize("name", ["cifar10-robust", "imagenet", "randomness"])
def test_every_share_of_a_record_is_drawn_where_it_stands(name, records):
    record = load_record(records / f"{name}-small.json")
    figure = figures.accuracy_against_eps(record, "Linf")
    threats = [title.lower() for title in titles_of(figure)]
    assert {"oblivious", "adaptive"} <= set(threats)
    for panel, threat in enumerate(threats):
        drawn = {(row["series"], row["eps"]): row for row in values_of(figure, panel)}
        for row in record.rows(threat=threat, norm="Linf"):
            if row.eps is not None:
                point = drawn[row.defense, f"{row.eps:g}/255"]
                # All attacks together never leave more than one of them, on the same images.
                if point["images"] == row.images:
                    assert point["y"] <= 100 * row.accuracy + 0.01
                assert point["low"] <= point["y"] <= point["high"]


def test_nothing_to_show_gives_no_figure(tiny):
    bare = tiny(("none", "clean", None, None, "1101"))
    assert figures.figures_of(bare) == []
    assert figures.detection_roc(bare) is None


def test_the_adaptive_panel_is_there_even_if_it_is_empty(tiny):
    rows = [("shield", "clean", None, None, "111"), ("shield", "oblivious", "pgd", 8, "110")]
    figure = figures.accuracy_against_eps(tiny(*rows), "Linf")
    assert titles_of(figure) == ["Oblivious", "Adaptive"]
    assert values_of(figure, 1) == [{"text": "not measured"}]
    smallest = figures.accuracy_without_eps(tiny(rows[0], ("shield", "oblivious", "cw", None, "1")))
    assert {row["text"] for row in values_of(smallest)} == {"100 %", "adaptive: not measured"}


def test_class_counts_are_those_of_the_images_attacked(tiny):
    record = tiny(
        ("none", "clean", None, None, "111111"),
        ("none", "oblivious", "fgsm", 8, "110100"),
        ("none", "adaptive", "pgd", 8, "1000"),
        ("shield", "clean", None, None, "111101"),
        ("shield", "oblivious", "fgsm", 8, "110110"),
        ("shield", "adaptive", "pgd", 8, "1000"),
        ("sieve", "clean", None, None, "111101"),
        ("sieve", "oblivious", "fgsm", 8, "110100"),
        ("sieve", "adaptive", "pgd", 8, "100"),
        labels=(0, 0, 0, 1, 1, 1),
    )
    figure = class_changes(record)
    clean, oblivious, adaptive = (
        {(row["name"], row["label"]): row["text"] for row in values_of(figure, panel)}
        for panel in range(3)
    )
    assert clean["shield", "dog (3)"] == "−33"
    assert oblivious["shield", "dog (3)"] == "+33"
    assert oblivious["shield", "cat (3)"] == "0"
    # The adaptive attacks are on fewer images, and one of them on none of the dogs.
    assert set(adaptive) == {
        (name, label) for name in ("shield", "sieve") for label in ("cat (3)", "dog (0–1)")
    }
    assert adaptive["sieve", "dog (0–1)"] == "–"


def test_classes_of_the_same_name_stay_apart(tiny):
    record = tiny(("none", "clean", None, None, "11"), ("a", "clean", None, None, "10"))
    data = msgspec.structs.replace(record.data, classes=("crane", "crane"))
    record = msgspec.structs.replace(record, data=data, labels=(0, 1))
    labels = [row["label"] for row in values_of(class_changes(record))]
    assert labels == ["crane 0 (1)", "crane 1 (1)"]


def test_reconstruction_is_beside_the_size_of_perturbations(real):
    figure = figures.reconstruction(real)
    found = {row["text"] for row in values_of(figure)}
    assert {"2/255", "8/255", "16/255", "32.7", "79.1 →"} <= found
    assert "dashed: perturbations by FGSM" in json.dumps(figure.spec)
    rows = tuple(msgspec.structs.replace(row, perturbation_psnr=None) for row in real.results)
    figure = figures.reconstruction(msgspec.structs.replace(real, results=rows))
    assert not {"/255", "dashed"} & set(re.findall("/255|dashed", json.dumps(figure.spec)))


def test_detection_marks_the_threshold_in_use(real):
    figure = figures.detection_roc(real)
    marks = {row["name"]: row for row in values_of(figure) if "name" in row}
    for defense in real.defenses:
        if defense.detection:
            mark = marks[defense.name]
            assert mark["y"] == pytest.approx(100 * defense.detection.detected)
            assert mark["x"] == pytest.approx(100 * defense.detection.false_positives)
