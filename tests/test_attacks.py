import pytest
import torch

from comdefend.attacks import perturb
from comdefend.defense import DefendedClassifier
from comdefend.errors import InputError, InputTypeError


def accuracy(model, images, labels):
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


@pytest.fixture(scope="module")
def batch(fashion):
    labels = fashion.accepted.float().argmax(1)
    return fashion.images[:40], labels[:40]


def test_attacks_stay_in_their_ball_and_on_8_bits(fashion, batch):
    images, labels = batch
    for attack in ("fgsm", "pgd"):
        found = perturb(fashion.classifier, images, labels, attack, eps=8, steps=5)
        steps = (found - images) * 255
        assert steps.abs().max() <= 8 + 1e-3
        torch.testing.assert_close(found * 255, (found * 255).round(), atol=1e-4, rtol=0)
        assert 0 <= found.min() <= found.max() <= 1


def test_attacks_break_the_classifier_and_more_of_it_with_more_effort(fashion, batch):
    clean = accuracy(fashion.classifier, *batch)
    scores = [
        accuracy(fashion.classifier, perturb(fashion.classifier, *batch, name, eps, 10), batch[1])
        for name, eps in (("fgsm", 8), ("pgd", 8), ("pgd", 255))
    ]
    assert clean > 0.85
    assert clean > scores[0] >= scores[1] >= scores[2]
    assert scores[2] == 0


def test_an_attack_depends_on_its_seed_alone(fashion, batch):
    torch.manual_seed(1)
    first = perturb(fashion.classifier, *batch, "pgd", 4, 3, seed=5)
    state = torch.get_rng_state()
    second = perturb(fashion.classifier, *batch, "pgd", 4, 3, seed=5)
    assert first.equal(second)
    assert torch.get_rng_state().equal(state)
    assert not first.equal(perturb(fashion.classifier, *batch, "pgd", 4, 3, seed=6))


def test_an_attack_leaves_the_model_as_it_was(fashion, batch):
    perturb(fashion.classifier, *batch, "fgsm", 4)
    assert all(p.requires_grad and p.grad is None for p in fashion.classifier.parameters())


def test_attacking_the_defended_classifier_is_adaptive(fashion, batch):
    images, labels = batch[0][:16], batch[1][:16]
    defended = DefendedClassifier(fashion.purifier, fashion.classifier)
    oblivious = perturb(fashion.classifier, images, labels, "pgd", 8, 10)
    adaptive = perturb(defended, images, labels, "pgd", 8, 10)
    assert accuracy(defended, adaptive, labels) < accuracy(defended, oblivious, labels)


def test_defended_classifier_purifies_then_classifies(fashion, batch):
    defended = DefendedClassifier(fashion.purifier, fashion.classifier)
    assert not defended.training
    with torch.no_grad():
        expected = fashion.classifier(fashion.purifier(batch[0][:4]))
        torch.testing.assert_close(defended(batch[0][:4]), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": "magic", "eps": 8}, "unknown attack 'magic'; known: fgsm, pgd"),
        ({"attack": "fgsm", "eps": 0}, "eps is in units of 1/255"),
        ({"attack": "fgsm", "eps": 300}, "eps is in units of 1/255"),
        ({"attack": "pgd", "eps": 8, "steps": 0}, "steps must be at least 1"),
    ],
)
def test_bad_use(fashion, batch, options, message):
    with pytest.raises(InputError, match=message):
        perturb(fashion.classifier, *batch, **options)


def test_a_model_in_training_mode_is_refused(fashion, batch):
    fashion.classifier.train()
    try:
        with pytest.raises(InputError, match="training mode"):
            perturb(fashion.classifier, *batch, "fgsm", 8)
    finally:
        fashion.classifier.eval()
    with pytest.raises(InputTypeError, match="must be an nn"):
        DefendedClassifier(lambda x: x, fashion.classifier)
