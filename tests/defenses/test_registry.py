"""Defences by name."""

import sys

import pytest
import torch

import comdefend
from comdefend.defenses import DEFENSES, is_random, load_defense
from comdefend.defenses.registry import FORMS
from comdefend.errors import DataMissingError, InputError, InputTypeError
from comdefend.zoo import save_weights

OWN = """
import torch
from torch import nn

class Darker(nn.Module):
    random = True
    def forward(self, images):
        return images / 2

def darker():
    return Darker()

instance = Darker()
def list_of_images(): return [1]
number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's module in the current directory."""
    (tmp_path / "own_defenses.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "own_defenses", raising=False)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("none", "Identity()"),
        ("jpeg:75", "JPEG(quality=75, offset=0)"),
        ("jpeg:75+5", "JPEG(quality=75, offset=5)"),
        ("webp:50", "WebP(quality=50)"),
        ("bits:3", "BitDepth(bits=3)"),
        ("median:3", "MedianSmoothing(size=3)"),
        ("tv:0.1", "TotalVariation(weight=0.1)"),
        ("noise:0.05", "GaussianNoise(std=0.05)"),
        ("resize-pad", "ResizePad(smallest=0.85)"),
    ],
)
def test_defences_by_name(spec, text):
    defense = load_defense(spec)
    assert repr(defense) == text
    assert not defense.training


def test_purifiers_by_name_and_by_file(gray, tmp_path):
    images = torch.rand(1, 1, 8, 8)
    save_weights(tmp_path / "own.safetensors", gray, {})
    for spec in ("gray-4bpp", str(tmp_path / "own.safetensors")):
        defense = load_defense(spec)
        assert isinstance(defense, comdefend.ComDefend)
        assert defense(images).equal(gray(images))
    with pytest.raises(DataMissingError, match="nowhere"):
        load_defense("nowhere.safetensors")


@pytest.mark.parametrize(
    "spec",
    ["", "magic", "jpeg", "jpeg:", "jpeg:75+", "jpeg:75+5+5", "jpeg:x", "bits:2.5", "none:1",
     "resize-pad:3", "resize-pad:", "tv:much", "tv:module:function", "rgb-12bpp:1"],
)  # fmt: skip
def test_unknown_defences_are_answered_by_those_that_are_known(spec):
    with pytest.raises(InputError) as raised:
        load_defense(spec)
    message = str(raised.value)
    assert message.startswith(f"unknown defence '{spec}'; known: WEIGHTS (")
    assert "\n" not in message
    for word in (*DEFENSES, "rgb-12bpp", ".safetensors"):
        assert word in message


def test_a_parameter_out_of_range_names_the_spec():
    with pytest.raises(InputError, match=r"^jpeg:99: quality must be an integer from 1 to 95"):
        load_defense("jpeg:99")


def test_one_after_the_other(gray):
    images = torch.rand(1, 1, 8, 8)
    chain = load_defense("bits:2|gray-4bpp")
    assert chain(images).equal(gray(load_defense("bits:2")(images)))
    assert not chain.training
    assert is_random(load_defense("bits:2|noise:0.1"))
    with pytest.raises(InputError, match="unknown defence 'magic'"):
        load_defense("bits:2|magic")


@pytest.mark.parametrize("name", ["Darker", "darker", "instance"])
def test_a_users_own_defence(own, name):
    defense = load_defense(f"own_defenses:{name}")
    images = torch.rand(2, 3, 4, 4)
    assert defense(images).equal(images / 2)
    assert not defense.training
    assert is_random(defense)
    assert is_random(load_defense(f"jpeg:75|own_defenses:{name}"))


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("own_defenses:none", InputError, "own_defenses has no 'none'"),
        ("own_defenses:number", InputError, "must be a function or an nn.Module, not int"),
        ("own_defenses:list_of_images", InputTypeError, "must return an nn.Module, not list"),
        ("own_nowhere:darker", InputError, "importing own_nowhere failed: .*No module named"),
    ],
)
def test_what_can_be_wrong_with_a_users_own(own, spec, error, message):
    with pytest.raises(error, match=message) as raised:
        load_defense(spec)
    assert str(raised.value).startswith(spec)


def test_every_form_has_a_phrase_and_a_name_of_its_own():
    names = [form.name for form in FORMS]
    assert len(set(names)) == len(names)
    for form in FORMS:
        assert all(DEFENSES[spelling] for spelling in form.spellings)
        assert all(spelling.partition(":")[0] == form.name for spelling in form.spellings)
