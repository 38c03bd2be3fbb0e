"""A user's own code by its name."""

import sys

import pytest
import torch
from torch import nn

from comdefend.common.user_code import is_user_spec, load_module, load_object
from comdefend.errors import DataMissingError, InputError, InputTypeError

OWN = """
from torch import nn
from comdefend.errors import DataMissingError
def net(): return nn.Linear(2, 3)
class Net(nn.Flatten): ...
instance = nn.Linear(2, 3)
def wants_more(classes): ...
def breaks(): raise ValueError("first line\\nsecond line")
def misses(): raise DataMissingError("weights.pt: no such file")
def no_module(): return [1]
constant = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's module in the current directory, and one that cannot be imported."""
    (tmp_path / "own_code.py").write_text(OWN)
    (tmp_path / "own_broken.py").write_text("import surely_not_installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for name in ("own_code", "own_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("spec", ["module:name", "a.b_c.d:e2", "größe:maß"])
def test_the_form_of_a_name(spec):
    assert is_user_spec(spec)


@pytest.mark.parametrize(
    "spec",
    ["", ":", "module:", ":name", "module", "a:b:c", "a-b:c", "a:1", "a..b:c", "./a:b", "a: b"],
)
def test_other_forms(spec):
    assert not is_user_spec(spec)
    with pytest.raises(InputError, match="is not of the form package"):
        load_object(spec)


def test_objects_and_networks(own):
    assert load_object("own_code:constant") == 3
    assert load_object("torch.nn:Flatten") is nn.Flatten
    assert load_module("own_code:instance") is load_object("own_code:instance")
    assert isinstance(load_module("own_code:Net"), nn.Flatten)
    assert load_module("own_code:net")(torch.rand(1, 2)).shape == (1, 3)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("own_code:none", InputError, "own_code has no 'none'"),
        ("own_code:constant", InputError, "must be a function or an nn.Module, not int"),
        ("own_code:wants_more", InputError, "calling it without arguments failed: TypeError"),
        ("own_code:breaks", InputError, "failed: ValueError: first line second line$"),
        ("own_code:misses", DataMissingError, "^weights.pt: no such file$"),
        ("own_code:no_module", InputTypeError, "must return an nn.Module, not list"),
        ("own_nowhere:net", InputError, "importing own_nowhere failed.*No module named"),
        ("own_broken:net", InputError, "No module named 'surely_not_installed'"),
    ],
)
def test_what_can_be_wrong(own, spec, error, message):
    with pytest.raises(error, match=message) as raised:
        load_module(spec)
    assert "\n" not in str(raised.value)
