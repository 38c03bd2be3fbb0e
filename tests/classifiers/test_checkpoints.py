"""Weights of other people's classifiers."""

import pickle
import warnings
from collections import Counter

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from comdefend.classifiers import open_classifier
from comdefend.errors import DataMissingError, InputError, WeightsError


def expected(state, images):
    return images.flatten(1) @ state["1.weight"].T + state["1.bias"]


@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_of_torch(own, images, tmp_path, nested, prefix):
    state = {prefix + name: tensor for name, tensor in own.items()}
    torch.save({nested: state, "epoch": 3} if nested else state, tmp_path / "net.pth")
    classifier = open_classifier("own_networks:net", tmp_path / "net.pth")
    torch.testing.assert_close(classifier(images), expected(own, images))


def test_checkpoints_of_safetensors_and_normalisation(own, images, tmp_path):
    save_file(own, tmp_path / "net.safetensors")
    classifier = open_classifier(
        "own_networks:net", tmp_path / "net.safetensors", mean=[0.1, 0.2, 0.3], std=[1, 2, 4]
    )
    shifted = (images - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([1, 2, 4]).view(
        3, 1, 1
    )
    torch.testing.assert_close(classifier(images), expected(own, shifted))
    with pytest.raises(InputError, match=r"must have shape \(N, 3, H, W\).*not \(5, 1, 2, 2\)"):
        classifier(images[:, :1])


def test_checkpoints_from_before_batches_were_counted(own, tmp_path):
    (tmp_path / "own_networks.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.BatchNorm2d(3))"
    )
    state = nn.Sequential(nn.BatchNorm2d(3)).state_dict()
    del state["0.num_batches_tracked"]
    save_file(dict(state), tmp_path / "old.safetensors")
    assert not open_classifier("own_networks:net", tmp_path / "old.safetensors").training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("1.bias"), r"does not fit own_networks:net: missing 1\.bias$"),
        (
            lambda s: s.update({f"more{i}": torch.zeros(1) for i in range(5)}),
            "unexpected more0, more1, more2 and 2 more$",
        ),
        (
            lambda s: s.update({"1.bias": torch.zeros(7)}),
            r"1\.bias is \(7,\) instead of \(4,\)$",
        ),
    ],
)
def test_checkpoints_that_do_not_fit(own, tmp_path, change, message):
    change(own)
    torch.save(own, tmp_path / "net.pt")
    with pytest.raises(InputError, match=message) as raised:
        open_classifier("own_networks:net", tmp_path / "net.pt")
    assert "\n" not in str(raised.value)


def test_checkpoints_that_hold_no_weights(own, tmp_path):
    with pytest.raises(DataMissingError, match=r"nowhere\.pt: no such checkpoint"):
        open_classifier("own_networks:net", tmp_path / "nowhere.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    torch.save(nn.Linear(2, 2), tmp_path / "pickled.pt")
    torch.save({"epoch": 3}, tmp_path / "epoch.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with (tmp_path / "protocol4.pt").open("wb") as file:
        pickle.dump({"a": Counter()}, file, protocol=4)
    for name, message in {
        "protocol4.pt": "without unpickling",
        "text.pt": "without unpickling",
        "pickled.pt": "without unpickling",
        "text.safetensors": "not a safetensors file",
        "epoch.pt": "holds no state dict",
        "list.pt": "holds no state dict",
    }.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(WeightsError, match=message) as raised:
                open_classifier("own_networks:net", tmp_path / name)
        assert "\n" not in str(raised.value)
