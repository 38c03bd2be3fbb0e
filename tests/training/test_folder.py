import json

import pytest
from msgspec.structs import replace

from comdefend.errors import InputError, OutputError
from comdefend.training.folder import check_folder, open_folder
from comdefend.training.recipe import recipe_to_dict
from comdefend.training.run import train


@pytest.fixture
def held(recipes, tmp_path):
    """A folder that holds a run of the purifier's recipe, in float32."""
    open_folder(tmp_path / "run", recipes["purifier"], "float32")
    return tmp_path / "run"


def test_a_folder_takes_the_run_that_it_holds(recipes, held):
    check_folder(held, recipes["purifier"], "float32")
    check_folder(held.parent / "new", recipes["purifier"], "float32")
    note = json.loads((held / "recipe.json").read_text())
    assert note == {**recipe_to_dict(recipes["purifier"]), "precision": "float32"}


def test_what_differs_is_named_with_both_values(recipes, held):
    recipe = recipes["purifier"]
    other = replace(recipe, steps=20, network=replace(recipe.network, phi=3.0))
    with pytest.raises(
        InputError,
        match=r"run: holds a run of another recipe \(steps: 10 there, 20 now; "
        r"network\.phi: 20\.0 there, 3\.0 now\); choose another --output or remove it$",
    ):
        check_folder(held, other, "float32")
    with pytest.raises(InputError, match=r"recipe \(kind: purifier there, classifier now\);"):
        check_folder(held, recipes["classifier"], "float32")


@pytest.mark.parametrize("other", ["folder:photos/", "folder:./photos", "folder:a/../photos//"])
def test_one_folder_of_images_has_many_spellings(recipes, tmp_path, other):
    recipe = replace(recipes["purifier"], data="folder:photos")
    open_folder(tmp_path, recipe, "float32")
    check_folder(tmp_path, replace(recipe, data=other), "float32")
    with pytest.raises(InputError, match="data: folder:photos there, folder:others now"):
        check_folder(tmp_path, replace(recipe, data="folder:others"), "float32")


def test_the_precision_is_part_of_a_run(recipes, held):
    with pytest.raises(InputError, match=r"a run in float32, not bfloat16; .* --precision float32"):
        train(recipes["purifier"], held, "bfloat16")
    # Folders of older versions do not name it.
    (held / "recipe.json").write_text(json.dumps(recipe_to_dict(recipes["purifier"])))
    check_folder(held, recipes["purifier"], "bfloat16")


@pytest.mark.parametrize("text", ["", "[1]", "7", "{"])
def test_a_damaged_note_is_named(recipes, held, text):
    (held / "recipe.json").write_text(text)
    with pytest.raises(InputError, match=r"recipe\.json: damaged; choose another --output"):
        check_folder(held, recipes["purifier"], "float32")


def test_a_file_is_no_folder(recipes, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        check_folder(tmp_path / "file", recipes["purifier"], "float32")
