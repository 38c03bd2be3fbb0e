import json

import pytest
import torch

from comdefend.data.classes import class_names, match_classes, read_class_names
from comdefend.data.image_set import ImageSet
from comdefend.errors import InputError


def data(classes, labels):
    return ImageSet(
        torch.zeros(len(labels), 3, 1, 1, dtype=torch.uint8), torch.tensor(labels), classes
    )


ANIMALS = ["ant", "bee", "cat", "guinea_pig"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.txt", "ant\nbee\ncat\nguinea_pig\n"),
        ("names.txt", "\ufeffant\r\nbee\r\n cat \r\nguinea_pig\r\n\r\n"),
        ("list.json", json.dumps(ANIMALS)),
        ("index.json", json.dumps({name: i for i, name in enumerate(ANIMALS)})),
        ("names.json", json.dumps(dict(reversed(list(enumerate(ANIMALS)))))),
        ("many.json", json.dumps({i: [f"n0000000{i}", name] for i, name in enumerate(ANIMALS)})),
    ],
)
def test_classes_find_their_index_by_name(tmp_path, name, text):
    (tmp_path / name).write_text(text, newline="")
    names = read_class_names(tmp_path / name)
    found = match_classes(data(("Guinea pig", "bee"), [1, 0, 0, 1]), 4, given=names)
    assert found.labels.tolist() == [1, 3, 3, 1]
    assert len(found.classes) == 4


def test_names_that_a_classifier_carries_are_used_where_they_fit():
    some = data(("bee", "cat"), [0, 1])
    carried = class_names(ANIMALS, "x")
    assert match_classes(some, 4, carried=carried).labels.tolist() == [1, 2]
    # Of another network, or without meaning.
    assert match_classes(some, 2, carried=carried).labels.tolist() == [0, 1]
    meaningless = class_names(["LABEL_0", "LABEL_1"], "x")
    assert match_classes(some, 2, carried=meaningless).labels.tolist() == [0, 1]


def test_numbers_and_labels_without_names_stay():
    names = class_names(ANIMALS, "x")
    for classes in ((), ("0", "1", "2", "3")):
        found = match_classes(data(classes, [3, 1]), 4, given=names)
        assert found.labels.tolist() == [3, 1]
        assert found.classes == tuple(ANIMALS)
        assert match_classes(data(classes, [3, 1]), 7).labels.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("classes", "count", "given", "message"),
    [
        (("ant", "bee"), 4, None, r"has 2 classes \(ant, bee\), the classifier has 4, .*--classes"),
        (("ant", "bea"), 4, ANIMALS, "no class 'bea'; did you mean 'bee'"),
        (("ant", "bee"), 5, ANIMALS, "4 names for a classifier of 5"),
        (("ant", "bee"), 4, ["ant", "bee", "bee", "x"], r"'bee' is the name of the classes \[1, 2"),
    ],
)
def test_classes_without_a_counterpart(classes, count, given, message):
    names = given and class_names(given, "x")
    with pytest.raises(InputError, match=message):
        match_classes(data(classes, [0, 1]), count, given=names)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "not readable as JSON"),
        ("a.json", "3", "must be names of classes"),
        ("a.json", '{"ant": 0, "bee": 2}', "must be 0, 1, 2"),
        ("a.json", '{"ant": "bee"}', "must map names to numbers"),
        ("a.txt", "ant\n\nbee\n", "class 1 has no name"),
        ("a.txt", "", "must be names of classes"),
    ],
)
def test_bad_files_of_names(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_class_names(tmp_path / name)


def test_lines_of_synsets_and_words(tmp_path):
    (tmp_path / "map.txt").write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\n")
    names = read_class_names(tmp_path / "map.txt")
    for word in ("n01440764", "tench", "Tinca tinca", "tench, Tinca tinca"):
        assert match_classes(data((word,), [0]), 2, given=names).labels.tolist() == [0]


def test_imagenet_is_known_by_synsets_and_words():
    pytest.importorskip("timm")
    found = match_classes(data(("n03445777", "n01440764"), [0, 1]), 1000)
    assert found.labels.tolist() == [574, 0]
    found = match_classes(data(("golf_ball", "tench", "tabby cat"), [0, 1, 2]), 1000)
    assert found.labels.tolist() == [574, 0, 281]
    with pytest.raises(InputError, match="has 2 classes"):
        match_classes(data(("my dog", "my other dog"), [0, 1]), 1000)
