import pickle
import sys
import warnings
from collections import Counter

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import comdefend
from comdefend.classifiers import Normalized, check_classifier, open_classifier
from comdefend.errors import DataMissingError, InputError, InputTypeError, WeightsError

OWN = """
import torch
from torch import nn
def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
def wants_more(classes): ...
def breaks(): raise ValueError("first line\\nsecond line")
def no_module(): return [1]
constant = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's module in the current directory, and the state of its network."""
    (tmp_path / "own_networks.py").write_text(OWN)
    (tmp_path / "own_broken.py").write_text("import surely_not_installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for name in ("own_networks", "own_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    generator = torch.Generator().manual_seed(0)
    return {
        "1.weight": torch.randn(4, 12, generator=generator),
        "1.bias": torch.randn(4, generator=generator),
    }


@pytest.fixture
def images():
    return torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(1))


def expected(state, images):
    return images.flatten(1) @ state["1.weight"].T + state["1.bias"]


def test_shipped_classifiers_by_name_and_by_file(fashion, tmp_path):
    from comdefend.weights.zoo import save_weights

    path = tmp_path / "mine.safetensors"
    save_weights(path, fashion.classifier, {})
    for spec in ("fashion-mnist-small", str(path)):
        classifier = open_classifier(spec)
        assert not classifier.training
        with torch.no_grad():
            wanted = fashion.classifier(fashion.images[:3])
            torch.testing.assert_close(classifier(fashion.images[:3]), wanted)


def test_the_network_of_pyautoattack():
    classifier = open_classifier("pyautoattack:resnet18")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert check_classifier(classifier, images, torch.tensor([0, 9])) == 10
    # Nothing changes much at random within 1/255.
    with torch.no_grad():
        near = (images + torch.rand(images.shape).sub(0.5).sign() / 255).clamp(0, 1)
        moved = (classifier(images).softmax(1) - classifier(near).softmax(1)).abs().max()
    assert moved < 0.05


def test_efficientnet_normalises_by_itself():
    classifier = open_classifier("efficientnet-lite0")
    assert isinstance(classifier, Normalized)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        raw = classifier.classifier((images - 127 / 255) / (128 / 255))
        torch.testing.assert_close(classifier(images), raw)
    assert raw.shape == (1, 1000)


def test_architectures_of_torchvision_and_timm(tmp_path):
    import timm
    from torchvision import models

    torch.manual_seed(0)
    made = {
        "torchvision:squeezenet1_1": models.squeezenet1_1(weights=None),
        "timm:test_resnet": timm.create_model("test_resnet"),
    }
    images = torch.rand(2, 3, 64, 64)
    for spec, network in made.items():
        torch.save(network.state_dict(), tmp_path / "net.pt")
        found = open_classifier(spec, tmp_path / "net.pt", mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 1])
        assert not found.training
        with torch.no_grad():
            shifted = (images - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor(
                [0.2, 0.2, 1]
            ).view(3, 1, 1)
            torch.testing.assert_close(found(images), network.eval()(shifted))
        with pytest.raises(InputError, match=f"{spec} needs a checkpoint.*nothing is downloaded"):
            open_classifier(spec)


@pytest.mark.parametrize(
    "spec",
    ["torchvision:resnet1", "torchvision:deeplabv3_resnet50", "timm:resnet1", "timm:hf-hub:a/b",
     "timm:", "torchvision:"],
)  # fmt: skip
def test_names_that_libraries_do_not_have_or_would_download(spec, tmp_path):
    with pytest.raises(InputError, match=r"has no classifier '.*'; see .*list_models"):
        open_classifier(spec, tmp_path / "any.pt")


def test_the_users_own_network(own, images):
    classifier = open_classifier("own_networks:net")
    assert not classifier.training
    assert classifier(images).shape == (5, 4)


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


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("own_networks:none", InputError, "own_networks has no function 'none'"),
        ("own_networks:constant", InputError, "has no function 'constant'"),
        ("own_networks:wants_more", InputError, "calling it without arguments failed: TypeError"),
        ("own_networks:breaks", InputError, "failed: ValueError: first line second line$"),
        ("own_networks:no_module", InputTypeError, "must return an nn.Module, not list"),
        ("own_nowhere:net", InputError, "importing own_nowhere failed.*No module named"),
        ("own_broken:net", InputError, "No module named 'surely_not_installed'"),
        (":net", InputError, "importing  failed"),
    ],
)
def test_what_can_be_wrong_with_the_users_own(own, spec, error, message):
    with pytest.raises(error, match=message):
        open_classifier(spec)


def test_unknown_and_contradictory_requests(own, tmp_path):
    with pytest.raises(InputError, match="unknown classifier 'resnet50'; known: ") as raised:
        open_classifier("resnet50")
    for known in (*comdefend.classifier_weights(), "timm:NAME", "package.module:function"):
        assert known in str(raised.value)
    with pytest.raises(InputError, match="has its weights; leave the checkpoint out"):
        open_classifier("fashion-mnist-small", tmp_path / "net.pt")
    with pytest.raises(InputError, match="normalises images itself"):
        open_classifier("efficientnet-lite0", mean=[0.5] * 3, std=[0.5] * 3)
    for mean, std, message in [
        ([0.5], None, "mean and std go together"),
        ([0.5], [0.5, 0.5], "a value for each channel, not 1 and 2"),
        ([], [], "a value for each channel"),
        ([float("nan")], [1], "mean must be finite"),
        ([0.5], [0], "std must be finite and above 0"),
    ]:
        with pytest.raises(InputError, match=message):
            open_classifier("own_networks:net", mean=mean, std=std)


class Answers(nn.Module):
    """Answers any images with what it was given, which changes with them a little."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.eval()

    def forward(self, images):
        if not isinstance(self.answer, torch.Tensor):
            return self.answer
        return self.answer[: len(images)] + 1e-6 * images.mean()


class Broken(nn.Module):
    """Raises for any images."""

    def __init__(self, error):
        super().__init__()
        self.error = error
        self.eval()

    def forward(self, images):
        raise self.error


class Wrapped(nn.Module):
    """Calls a classifier as a user's function may."""

    def __init__(self, call):
        super().__init__()
        self.call = call
        self.eval()

    def forward(self, images):
        return self.call(images)


def test_a_classifier_without_a_gradient(fashion):
    network = fashion.classifier
    labels = torch.tensor([0])
    for call in (
        torch.no_grad()(network),
        torch.inference_mode()(network),
        lambda images: network(images.detach()),
        lambda images: network((images * 255).round().int().float() / 255),
    ):
        with pytest.raises(InputError, match="passes no gradient to its images"):
            check_classifier(Wrapped(call), fashion.images[:1], labels)


def test_a_good_classifier_passes(fashion):
    labels = fashion.labels
    assert check_classifier(fashion.classifier, fashion.images[::40], labels[::40]) == 10
    # Neither sums to 1 in every row within [0, 1].
    for logits in ([[0.2, 0.8], [0.5, 0.6]], [[-1.0, 2.0], [0.0, 1.0]]):
        assert check_classifier(Answers(torch.tensor(logits)), torch.rand(2, 1), labels[:2] % 2)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (torch.randn(3, 4).softmax(1), InputError, "seems to return probabilities"),
        (torch.full((3, 4), 0.25).half(), InputError, "seems to return probabilities"),
        (torch.randn(3, 4, 1), InputError, r"shape \(3, classes\).*not \(3, 4, 1\)"),
        (torch.randn(3, 1), InputError, "at least 2 classes"),
        (torch.randn(2, 4), InputError, r"not \(2, 4\)"),
        (torch.tensor([[1.0, 2], [3, 4], [5, float("nan")]]), InputError, "NaN"),
        (torch.tensor([[1.0, 2], [3, 4], [5, float("inf")]]), InputError, "infinity"),
        ((torch.randn(3, 4), 0), InputTypeError, "tensor of logits, not tuple"),
        (torch.randn(3, 2), InputError, "must lie in 0 to 1 for a classifier of 2 classes, .* 3"),
    ],
)
def test_bad_answers(answer, error, message):
    with pytest.raises(error, match=message):
        check_classifier(Answers(answer), torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 3]))


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (torch.tensor([0, -1]), InputError, "found -1 to 0"),
        (torch.tensor([0, 1, 1]), InputError, r"must have shape \(2,\).*not \(3,\)"),
        (torch.tensor([[0], [1]]), InputError, r"not \(2, 1\)"),
        (torch.tensor([0.0, 1.0]), InputTypeError, "int64 tensor, not torch.float32"),
        ([0, 1], InputTypeError, "int64 tensor, not list"),
    ],
)
def test_bad_labels(labels, error, message):
    with pytest.raises(error, match=message):
        check_classifier(Answers(torch.randn(2, 3)), torch.rand(2, 1), labels)


def test_a_classifier_that_is_not_ready(fashion):
    labels = torch.tensor([0])
    network = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(784, 10)).eval()
    network[1].train()
    with pytest.raises(InputError, match="training mode"):
        check_classifier(network, fashion.images[:1], labels)
    network.eval()
    with pytest.raises(InputError, match=r"cannot take images of shape \(1, 3, 8, 8\): Runtime"):
        check_classifier(network, torch.rand(1, 3, 8, 8), labels)
    for error in (AssertionError("height"), ValueError("expected 224"), KeyError("x")):
        with pytest.raises(InputError, match=f"28, 28\\): {type(error).__name__}: ") as raised:
            check_classifier(Broken(error), fashion.images[:1], labels)
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="there are none"):
        check_classifier(network, torch.rand(0, 1, 28, 28), labels[:0])
