import numpy as np
import pytest
from PIL import Image

from comdefend.data.sources import load_image_set, load_training_images, name_test_split
from comdefend.errors import DataMissingError, InputError


@pytest.fixture
def place(tmp_path):
    """Make image files at these paths, the first of them black, the next a shade lighter."""

    def make(*names):
        for shade, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(path)
        return tmp_path

    return make


def labels(path, split="test"):
    """Return shade -> label."""
    data = load_image_set(f"folder:{path}", split)
    shades = data.images[:, 0, 0, 0].tolist()
    return dict(zip(shades, data.labels.tolist(), strict=True))


def test_classes_are_numbered_over_all_splits(place):
    path = place("train/ant/0.png", "train/bee/0.png", "train/cat/0.png", "test/cat/0.png")
    assert labels(path) == {3: 2}
    assert labels(path, "train") == {0: 0, 1: 1, 2: 2}
    assert load_image_set(f"folder:{path}", "test").classes == ("ant", "bee", "cat")
    # The same where the split itself is named.
    assert labels(path / "test") == {3: 2}


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "VAL"])
def test_a_validation_split_stands_in_for_test(place, name):
    path = place("Train/ant/0.png", "Train/bee/0.png", f"{name}/bee/0.png", "test/0.png")
    data = load_image_set(f"folder:{path}", "test")
    assert data.labels.tolist() == [1]
    assert data.notes == (f"{path}: has no test images by class; those of {name}/ are taken",)
    assert name_test_split(f"folder:{path}") == name
    assert [p.name for p in load_training_images(f"folder:{path}", 3)] == ["0.png", "0.png"]


def test_test_goes_before_validation(place):
    path = place("train/ant/0.png", "val/ant/0.png", "Test/ant/0.png")
    data = load_image_set(f"folder:{path}", "test")
    assert data.images[0, 0, 0, 0] == 2
    assert name_test_split(f"folder:{path}") == "Test"
    assert not data.notes


def test_splits_are_not_classes(place):
    path = place("photos/train/ant/0.png", "photos/val/ant/0.png", "only/a/0.png", "only/b/0.png")
    with pytest.raises(InputError, match=rf"train, val are splits, not .*folder:{path}/photos$"):
        load_image_set(f"folder:{path}", "test")
    (path / "photos").rename(path.parent / "photos")
    with pytest.raises(InputError, match=rf"one class, only, .*name folder:{path}/only$"):
        load_image_set(f"folder:{path}", "test")


def test_a_missing_split_is_not_made_up(place):
    path = place("train/ant/0.png", "train/bee/0.png")
    with pytest.raises(DataMissingError, match=rf"has train/ but no test/.*name {path}/train"):
        load_image_set(f"folder:{path}", "test")
    assert name_test_split(f"folder:{path}") is None
    (path / "train").rename(path / "test")
    with pytest.raises(DataMissingError, match="has test/ but no train/"):
        load_training_images(f"folder:{path}", 3)


def test_splits_without_classes_are_refused(place):
    path = place("train/0.png", "val/0.png")
    with pytest.raises(DataMissingError, match="no images in folders named by their class"):
        load_image_set(f"folder:{path}", "test")
    assert [p.parent.name for p in load_training_images(f"folder:{path}", 3)] == ["train"]
    assert name_test_split(f"folder:{path}") is None


def test_a_class_may_be_called_train(place):
    path = place("car/0.png", "plane/0.png", "train/0.png")
    assert labels(path) == {0: 0, 1: 1, 2: 2}


def test_what_begins_with_a_dot_is_no_class_and_no_image(place):
    path = place("ant/0.png", "bee/0.png", "bee/.thumbnails/0.png", ".ipynb_checkpoints/0.png")
    (path / "bee" / "._0.png").write_bytes(b"\0\5\x16\7")
    (path / ".DS_Store").write_bytes(b"x")
    assert labels(path) == {0: 0, 1: 1}
    assert len(load_training_images(f"folder:{path}", 3)) == 2


def test_folders_named_by_numbers_are_numbers(place):
    path = place(*(f"{number}/0.png" for number in range(12)))
    assert labels(path) == {number: number for number in range(12)}
    data = load_image_set(f"folder:{path}", "test")
    assert data.classes[10] == "10"
    assert "torchvision's ImageFolder sorts them as text" in data.notes[0]


def test_numbers_with_gaps_keep_their_values(place):
    path = place("003/0.png", "011/0.png")
    assert labels(path) == {0: 3, 1: 11}
    assert load_image_set(f"folder:{path}", "test").class_count == 12


def test_dates_are_names(place):
    path = place("20240101/0.png", "3/0.png")
    assert labels(path) == {0: 1, 1: 0}


@pytest.mark.parametrize(
    ("names", "message"),
    [(("Cat", "cat"), "differ in capital letters"), (("1", "01"), "are the same number")],
)
def test_classes_that_cannot_be_told_apart(place, names, message):
    path = place(*(f"train/{name}/0.png" for name in names), "test/dog/0.png")
    (path / "test" / "dog").rename(path / "test" / names[0])
    with pytest.raises(InputError, match=message):
        load_image_set(f"folder:{path}", "test")


def test_the_home_folder_is_expanded(place, monkeypatch):
    path = place("photos/ant/0.png", "photos/bee/0.png")
    monkeypatch.setenv("HOME", str(path))
    assert len(load_image_set("folder:~/photos", "test")) == 2
