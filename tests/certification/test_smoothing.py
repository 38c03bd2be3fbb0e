import pytest
import torch
from msgspec.structs import replace
from scipy.stats import binom, norm

from comdefend.certification import smoothing
from comdefend.certification.base import BaseClassifier
from comdefend.certification.noise import draws, stream_key
from comdefend.certification.smoothing import Smoothed
from tests.certification.linear import SIGMA, Line

LINE = Line()


def smoothed(n=1000, alpha=0.001, seed=0, model=LINE):
    return Smoothed(BaseClassifier(None, model), SIGMA, n, 100, alpha, seed)


def timeless(results):
    return [replace(result, seconds=0) for result in results]


def test_the_radius_of_a_linear_classifier_is_below_its_distance_and_approaches_it():
    distances = (0.05, 0.1, 0.2)
    radii = [
        [found.radius for found in smoothed(n).certify(LINE.at(*distances))]
        for n in (200, 2000, 20_000)
    ]
    for few, more, most, distance in zip(*radii, distances, strict=True):
        assert few < more < most < distance
        assert most > 0.93 * distance


def test_the_base_classifier_is_given_the_noise_as_it_was_drawn(monkeypatch):
    """Not clamped: that is the base classifier's own affair."""
    image, seen = LINE.at(0.1), []
    found = smoothed(200)
    answer = BaseClassifier.__call__
    monkeypatch.setattr(
        BaseClassifier, "__call__", lambda base, given: seen.append(given) or answer(base, given)
    )
    found.sigma = 2.0
    found.certify(image)
    given = torch.cat(seen)
    key = stream_key(0, "certify", image[0])
    wanted = draws([(key, number) for number in range(len(given))], image[0].shape)
    assert given.equal(image + 2.0 * wanted)
    assert given.min() < 0
    assert given.max() > 1


def test_the_counts_are_those_of_the_true_probability():
    (found,) = smoothed(10_000).certify(LINE.at(0.08))
    assert found.draws == 10_000
    assert found.answer == found.guess == 0
    assert 0.001 < binom.cdf(found.hits, 10_000, norm.cdf(0.8)) < 0.999


def test_certificates_are_wrong_with_probability_alpha_at_most():
    image, runs, alpha = LINE.at(0.05), 200, 0.1
    wrong = sum(
        found.radius > 0.05
        for seed in range(runs)
        for found in smoothed(100, alpha, seed).certify(image)
    )
    # More than so many come about once in a thousand times, if alpha holds.
    assert 0 < wrong <= binom.ppf(0.999, runs, alpha)


def test_where_no_class_has_a_majority_there_is_no_answer():
    near, far = smoothed().predict(LINE.at(0.0, 0.1))
    assert (near, far) == (None, 0)
    near, far = smoothed().certify(LINE.at(0.0, 0.1))
    assert near.answer is None
    assert near.radius == 0
    assert far.answer == 0
    # The other side answers the other class.
    assert smoothed().predict(LINE.at(-0.1)) == [1]


class Thirds(torch.nn.Module):
    """Three classes that come equally often, whatever the image."""

    def forward(self, images):
        place = norm.cdf(((images - 0.5) * LINE.normal.detach()).flatten(1).sum(1) / SIGMA)
        return torch.nn.functional.one_hot((torch.tensor(place) * 3).long().clamp(0, 2), 3).float()


def test_giving_up_early_changes_no_answer_and_no_radius(monkeypatch):
    distances = [0.01 * k for k in range(-3, 6)]
    early = smoothed(2000).certify(LINE.at(*distances))
    thirds = smoothed(2000, model=Thirds().eval()).certify(LINE.at(0.0))
    monkeypatch.setattr(smoothing, "BLOCK", 2000)
    whole = smoothed(2000).certify(LINE.at(*distances))
    assert [(found.answer, found.radius) for found in early] == [
        (found.answer, found.radius) for found in whole
    ]
    for found, final in zip(early, whole, strict=True):
        assert final.draws == 2000
        assert not final.stopped
        if found.stopped:
            assert found.answer is None
            assert found.lower is None
            assert final.lower <= 0.5
        else:
            assert (found.hits, found.draws) == (final.hits, final.draws)
    (third,) = thirds
    assert third.stopped
    assert third.draws < 2000
    assert third.draws % 100 == 0


def test_counts_do_not_depend_on_what_is_computed_together(monkeypatch):
    images = LINE.at(0.0, 0.03, 0.1, 0.2)
    alone = [found for image in images for found in smoothed().certify(image.unsqueeze(0))]
    assert smoothed().predict(images) == [smoothed().predict(i.unsqueeze(0))[0] for i in images]
    for size in (1, 7, 10_000):
        monkeypatch.setattr(BaseClassifier, "images_at_once", lambda *_, size=size: size)
        assert timeless(smoothed().certify(images)) == timeless(alone)
        assert smoothed().images_at_once(images) == -(-size // 100)


def test_another_seed_is_another_draw():
    first, other = (smoothed(seed=seed).certify(LINE.at(0.05)) for seed in (0, 1))
    assert first[0].hits != other[0].hits


def test_a_purifier_with_a_threshold_gives_the_same_counts_in_any_batch(fashion, monkeypatch):
    from comdefend.defenses import load_defense

    purifier = load_defense("gray-2bpp-robust")
    base = BaseClassifier(purifier, fashion.classifier, "torch")
    found = []
    for size in (5, 32):
        monkeypatch.setattr(base, "images_at_once", lambda _, size=size: size)
        found.append(Smoothed(base, 0.12, 100, 20, 0.001, 0).certify(fashion.images[:2]))
    for one, other in zip(*found, strict=True):
        # Rounding may turn a bit over.
        assert one.guess == other.guess
        assert abs(one.hits - other.hits) <= 1


def test_arts_implementation_proves_the_same():
    pytest.importorskip("statsmodels")
    art = pytest.importorskip("art.estimators.certification.randomized_smoothing")
    model = Line()
    theirs = art.PyTorchRandomizedSmoothing(
        model=model, loss=torch.nn.CrossEntropyLoss(), input_shape=(1, 4, 4), nb_classes=2,
        sample_size=100, scale=SIGMA, alpha=0.001,
    )  # fmt: skip
    images = LINE.at(0.05, 0.1, 0.2)
    answers, radii = theirs.certify(images.numpy(), n=10_000)
    ours = smoothed(10_000).certify(images)
    assert list(answers) == [found.answer for found in ours]
    # Each within a few standard errors of the other.
    assert list(radii) == pytest.approx([found.radius for found in ours], abs=0.01)
