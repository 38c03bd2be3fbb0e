"""Checkpoints as people have them."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from comdefend.classifiers import ClassifierSpec, check_classifier, open_classifier
from comdefend.classifiers.checkpoints import classes_in, load_checkpoint
from comdefend.errors import InputError, WeightsError


def network(classes=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(2, classes))  # fmt: skip


class Holder(nn.Module):
    """A network whose own names begin with one of the prefixes."""

    def __init__(self):
        super().__init__()
        self.model = network()


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model."])
@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model", "net"])
def test_prefixes_and_keys_are_what_scripts_write(tmp_path, prefix, key):
    wanted = network().state_dict()
    state = {prefix + name: tensor for name, tensor in wanted.items()}
    torch.save(state if key is None else {key: state, "epoch": 3}, tmp_path / "c.pt")
    fresh = network()
    nn.init.zeros_(fresh[0].weight)
    load_checkpoint(fresh, tmp_path / "c.pt", "mine")
    assert all(tensor.equal(wanted[name]) for name, tensor in fresh.state_dict().items())


def test_a_prefix_that_is_the_networks_own_stays(tmp_path):
    save_file(Holder().state_dict(), tmp_path / "c.safetensors")
    load_checkpoint(Holder(), tmp_path / "c.safetensors", "mine")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>404</html>", "an HTML page, not weights"),
        (b"PK\x03\x04" + bytes(100), "a truncated file, not weights"),
        (b"\x80\x02nonsense", "cannot read it without unpickling"),
    ],
)
@pytest.mark.parametrize("name", ["c.pt", "c.safetensors"])
def test_what_is_no_checkpoint_is_called_what_it_is(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    if name.endswith("safetensors") and "unpickling" in message:
        message = "not a safetensors file"
    with pytest.raises(WeightsError, match=message) as caught:
        load_checkpoint(network(), tmp_path / name, "mine")
    assert "\n" not in str(caught.value)


def test_the_number_of_classes_is_read_from_the_last_layer(tmp_path):
    save_file(network(5).state_dict(), tmp_path / "five.safetensors")
    assert classes_in(tmp_path / "five.safetensors", network(3)) == 5
    assert classes_in(tmp_path / "five.safetensors", network(5)) is None
    # Other layers that differ mean another architecture.
    other = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Identity(), nn.Identity(), nn.Linear(4, 3))
    assert classes_in(tmp_path / "five.safetensors", other) is None


def test_an_architecture_takes_the_classes_of_its_checkpoint(tmp_path):
    import timm

    name = "test_resnet"
    save_file(timm.create_model(name, num_classes=7).state_dict(), tmp_path / "c.safetensors")
    classifier = open_classifier(ClassifierSpec(f"timm:{name}", str(tmp_path / "c.safetensors")))
    with torch.inference_mode():
        assert classifier(torch.rand(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        (network().half(), "weights are torch.float16, the images torch.float32; call its float"),
        (network(1), "one number per image; give it a logit for each of its two classes"),
        (nn.Sequential(network(1), nn.Flatten(0)), "one number per image"),
    ],
)
def test_classifiers_that_need_a_change_are_told_which(classifier, message):
    with pytest.raises(InputError, match=message):
        check_classifier(classifier.eval(), torch.rand(2, 1, 8, 8), torch.tensor([0, 1]))
