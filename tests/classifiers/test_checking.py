"""Whether attacks can measure a classifier correctly."""

import pytest
import torch
from torch import nn

from comdefend.classifiers import check_classifier
from comdefend.errors import InputError, InputTypeError


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
        (torch.randn(3, 1), InputError, "one number per image"),
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
