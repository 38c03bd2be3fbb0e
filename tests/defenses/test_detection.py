import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from comdefend.attacks import run_attack
from comdefend.defenses import DefendedClassifier
from comdefend.defenses.detection import (
    Detector,
    auroc,
    detection_threshold,
    movement,
    roc_curve,
)
from comdefend.errors import InputError, InputTypeError

few_scores = st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 1.7, 2.0]), min_size=1)


def test_movement_is_0_for_one_answer_and_2_for_opposite_ones():
    logits = torch.tensor([[0.0, 0, 0], [50, 0, 0], [50, 0, 0]])
    after = torch.tensor([[7.0, 7, 7], [0, 50, 0], [0, 0, 0]])
    torch.testing.assert_close(movement(logits, after), torch.tensor([0, 2, 4 / 3]))
    with pytest.raises(InputError, match=r"\(N, classes\), not \(3, 3\) and \(2, 3\)"):
        movement(logits, after[:2])
    with pytest.raises(InputError, match=r"\(N, classes\)"):
        movement(logits[0], after[0])


@given(few_scores, st.fractions(0, 1).filter(lambda rate: rate < 1))
@settings(max_examples=100, deadline=None)
def test_the_threshold_is_the_smallest_that_keeps_the_rate(scores, rate):
    rate = float(rate) if float(rate) < 1 else 0.5
    scores = torch.tensor(scores)
    threshold = detection_threshold(scores, rate)
    assert (scores > threshold).sum().item() / len(scores) <= rate
    just_below = torch.nextafter(torch.tensor(threshold), torch.tensor(-1.0))
    assert (scores > just_below).sum().item() / len(scores) > rate


@pytest.mark.parametrize(
    ("rate", "flagged"), [(0, 0), (0.05, 5), (0.29, 29), (0.57, 57), (0.999, 99), (0.009, 0)]
)
def test_the_threshold_lets_as_many_pass_as_the_rate_says(rate, flagged):
    scores = torch.arange(100.0)[torch.randperm(100)] / 50
    assert (scores > detection_threshold(scores, rate)).sum() == flagged


@given(few_scores, few_scores)
@settings(max_examples=50, deadline=None)
def test_auroc_is_the_chance_that_an_attacked_image_scores_higher(clean, attacked):
    pairs = [(a > c) + 0.5 * (a == c) for a in attacked for c in clean]
    found = auroc(torch.tensor(clean).double(), torch.tensor(attacked).double())
    assert found == pytest.approx(sum(pairs) / len(pairs))


def test_auroc_tells_close_scores_apart():
    clean = torch.tensor([1e-9, 3e-9, 2.0])
    assert auroc(clean, torch.tensor([2e-9, 4e-9])) == pytest.approx(0.5)
    assert auroc(clean[:2], torch.tensor([4e-9, 2.0])) == 1


def test_roc_curve_by_hand():
    false, true = roc_curve(torch.tensor([0.1, 0.5, 0.5]), torch.tensor([0.5, 1.5]))
    torch.testing.assert_close(true.double(), torch.tensor([0, 0.5, 1, 1]).double())
    torch.testing.assert_close(false.double(), torch.tensor([0, 0, 2 / 3, 1]).double())
    area = torch.trapezoid(true, false).item()
    assert area == pytest.approx(auroc(torch.tensor([0.1, 0.5, 0.5]), torch.tensor([0.5, 1.5])))


@given(few_scores, few_scores)
@settings(max_examples=50, deadline=None)
def test_auroc_is_the_area_under_the_roc_curve(clean, attacked):
    clean, attacked = torch.tensor(clean), torch.tensor(attacked)
    false, true = roc_curve(clean, attacked)
    assert false[0] == true[0] == 0
    assert false[-1] == true[-1] == 1
    area = torch.trapezoid(true.double(), false.double()).item()
    assert area == pytest.approx(auroc(clean, attacked), abs=1e-6)


def test_a_detector_flags_attacked_images_and_few_others(fashion):
    # Every class is in both halves.
    known, fresh, labels = fashion.images[::16], fashion.images[8::16], fashion.labels[8::16]
    detector = Detector(fashion.defended).calibrate(known, 0.1)
    attacked = run_attack(fashion.classifier, fresh, labels, "bim", 8, rounded=False)
    flags = detector.flag(attacked)
    assert flags.shape == (len(fresh),)
    assert flags.dtype == torch.bool
    with torch.no_grad():
        clean_scores, attacked_scores = detector.scores(fresh), detector.scores(attacked)
    torch.testing.assert_close(flags, attacked_scores > detector.threshold)
    assert flags.sum() > (clean_scores > detector.threshold).sum()
    assert auroc(clean_scores, attacked_scores) > 0.5


def test_scores_have_a_gradient():
    detector = Detector(DefendedClassifier(nn.Softmax(1), nn.Flatten()).eval())
    images = torch.rand(2, 3, 2, 2, requires_grad=True)
    detector.scores(images).sum().backward()
    assert images.grad.abs().sum() > 0


def test_a_detector_that_cannot_judge_says_so(fashion):
    defended = DefendedClassifier(nn.Identity(), fashion.classifier)
    images = fashion.images[:2]
    with pytest.raises(InputError, match="training mode"):
        Detector(defended).calibrate(images, 0.1)
    defended.eval()
    with pytest.raises(InputError, match="no threshold; call calibrate"):
        Detector(defended).flag(images)
    with pytest.raises(InputTypeError, match="must be a DefendedClassifier, not SmallClassifier"):
        Detector(fashion.classifier)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan")])
def test_bad_rates(rate):
    with pytest.raises(InputError, match="false_positive_rate must be at least 0 and below 1"):
        detection_threshold(torch.rand(5), rate)


def test_bad_scores():
    good = torch.rand(3)
    for bad in (torch.rand(0), torch.rand(2, 2), torch.tensor([0.1, float("nan")])):
        with pytest.raises(InputError, match="clean_scores must"):
            detection_threshold(bad, 0.1)
        with pytest.raises(InputError, match="attacked_scores must"):
            auroc(good, bad)
        with pytest.raises(InputError, match="clean_scores must"):
            roc_curve(bad, good)
