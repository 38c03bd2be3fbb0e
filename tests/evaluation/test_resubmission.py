import math

import msgspec
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from comdefend.defenses import DefendedClassifier, GaussianNoise, draws_at_random
from comdefend.evaluation import attacker
from comdefend.evaluation.experiment import DefensePlan
from comdefend.evaluation.findings import SUBMISSIONS
from comdefend.evaluation.given import Given
from comdefend.evaluation.judge import NEVER, Judge
from comdefend.evaluation.record import load_record, save_record
from comdefend.evaluation.run import Run
from comdefend.evaluation.subjects import OpenedClassifier, Subject
from comdefend.report.html import render_report
from comdefend.report.markdown import markdown_table
from comdefend.report.resubmission import resubmissions


class Coin(nn.Module):
    """A defence that leaves each image with a known probability, and blackens it otherwise."""

    def __init__(self, leaves):
        super().__init__()
        self.leaves, self.calls = leaves, 0

    def forward(self, images):
        self.calls += 1
        return images * (torch.rand(len(images), 1, 1, 1) < self.leaves)


class LeftOn(nn.Module):
    """A classifier behind dropout that `eval` does not switch off."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, images):
        return self.classifier(F.dropout(images, 0.3))


@pytest.fixture(scope="module")
def right(fashion):
    """Images that the classifier has right, as long as they are not blackened."""
    with torch.no_grad():
        answers = fashion.classifier(fashion.images).argmax(1)
        black = fashion.classifier(torch.zeros(1, 1, 28, 28)).argmax(1)
    chosen = (answers == fashion.labels) & (fashion.labels != black)
    return fashion.images[chosen][:80], fashion.labels[chosen][:80]


def subject(fashion, leaves):
    alone = OpenedClassifier(fashion.classifier, "classifier", False)
    return Subject(DefensePlan("coin"), Coin(leaves).eval(), alone, "coin", 10, True)


@pytest.mark.parametrize("leaves", [0.5, 0.9])
def test_of_images_right_with_probability_p_p_to_the_k_are_left(fashion, right, leaves):
    coin = subject(fashion, leaves)
    count = len(right[0])
    first = Judge(*right, seed=0).first_wrong(coin, right[0])
    for submissions in SUBMISSIONS:
        share = leaves**submissions
        spread = math.sqrt(count * share * (1 - share))
        assert abs(int((first > submissions).sum()) - count * share) <= 3 * spread + 1e-9
    # No image is submitted once more when it was wrong.
    assert coin.purifier.calls == int(first.clamp(max=max(SUBMISSIONS)).sum())


def test_a_draw_is_a_function_of_seed_image_and_number(fashion, right):
    right = right[0][:20], right[1][:20]
    coin, judge = subject(fashion, 0.8), Judge(*right, seed=0)
    first = judge.first_wrong(coin, right[0])
    some = torch.tensor([7, 2, 11])
    assert judge.first_wrong(coin, right[0][some], some).equal(first[some])
    known = torch.tensor([1, 2, NEVER])
    assert judge.first_wrong(coin, right[0][some], some, known).equal(first[some].minimum(known))
    assert not Judge(*right, seed=1).first_wrong(coin, right[0]).equal(first)


@pytest.fixture(scope="module")
def measure(experiment):
    """Measure a coin and a defence that draws nothing, with some fields changed."""

    def run(output, classifier=None, progress=lambda label, done, total: None, **changes):
        fields = {
            "defenses": ["coin", "bits:3"], "oblivious": [{"attack": "fgsm", "eps": [2, 8]}],
            "adaptive": [{"attack": "pgd", "eps": [2, 8], "steps": 2}], "query": [],
            "corruptions": [], "checks": 0, **changes,
        }  # fmt: skip
        given = Given(classifier=classifier, defenses={"coin": Coin(0.9).eval()})
        return Run(experiment(**fields), output, progress=progress, given=given).measure()

    return run


@pytest.fixture(scope="module")
def record(measure, tmp_path_factory):
    return measure(tmp_path_factory.mktemp("whole"))


def test_every_row_of_what_draws_has_figures_and_no_other_row(record):
    for row in record.results:
        assert [each.submissions for each in row.resubmitted] == (
            list(SUBMISSIONS) if row.defense == "coin" else []
        )
        for each in row.resubmitted:
            assert each.images == row.images == len(each.correct)
            assert each.interval[0] <= each.accuracy <= each.interval[1]
    assert not record.resubmissions(1, defense="bits:3")
    clean, *_ = record.resubmissions(5, defense="coin")
    (row,) = record.rows(defense="coin", threat="clean")
    assert clean == row.resubmitted[1]
    # By the mean over draws the coin is always right.
    assert row.accuracy > row.resubmitted[2].accuracy
    assert not any(check.name.endswith("says so") for check in record.checks)


def test_more_submissions_and_more_attacks_never_help_the_defender(record):
    for row in record.rows(defense="coin"):
        for fewer, more in zip(row.resubmitted, row.resubmitted[1:], strict=False):
            assert all(a >= b for a, b in zip(fewer.correct, more.correct, strict=True))
    for place in range(len(SUBMISSIONS)):
        adaptive = record.row(defense="coin", threat="adaptive", eps=8).resubmitted[place].correct
        for row in record.rows(defense="coin"):
            below = row.resubmitted[place].correct
            assert all(a <= b for a, b in zip(adaptive, below, strict=True))


def test_a_record_with_submissions_comes_back(record, tmp_path):
    save_record(record, tmp_path / "record.json")
    assert load_record(tmp_path / "record.json") == record


def test_a_run_that_was_stopped_submits_the_same(measure, record, tmp_path):
    def stop(label, done, total):
        if label.startswith("coin: pgd 8"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path, progress=stop)
    again = measure(tmp_path)
    untimed = [
        [msgspec.structs.replace(row, seconds=0) for row in each.results]
        for each in (again, record)
    ]
    assert untimed[0] == untimed[1]


def test_query_attacks_are_submitted_again_too(measure, tmp_path):
    query = [{"attack": "square", "eps": [8], "steps": 3, "images": 4}]
    found = measure(tmp_path, defenses=["coin"], oblivious=[], images=4, query=query)
    row = found.row(threat="query")
    assert [(each.submissions, each.images) for each in row.resubmitted] == [
        (k, 4) for k in SUBMISSIONS
    ]


def test_reports_show_it_where_there_is_something_to_show(record, tmp_path):
    lines = resubmissions(record)
    assert {line.defense for line in lines} == {"coin"}
    assert [line.attack for line in lines] == [
        "clean",
        "all attacks L∞ 2/255",
        "all attacks L∞ 8/255",
    ]
    assert [len(line.mean) for line in lines] == [1, 2, 2]
    markdown, html = markdown_table(record), render_report(record)
    for count in ("once", "5 times", "20 times"):
        assert f"submitted {count}" in markdown
        assert f"submitted<br>{count}" in html
    fixed = msgspec.structs.replace(
        record, results=tuple(row for row in record.results if row.defense != "coin")
    )
    assert "submitted" not in markdown_table(fixed)
    assert "submitted<br>" not in render_report(fixed)


@pytest.mark.parametrize("says_so", [False, True])
def test_a_classifier_that_draws_is_recognised_and_attacked_by_the_mean(
    fashion, measure, says_so, monkeypatch, tmp_path
):
    made = []

    def attack(model, *others, **options):
        made.append((type(model).__name__, options["random"]))
        return run(model, *others, **options)

    run = attacker.run_attack
    monkeypatch.setattr(attacker, "run_attack", attack)
    classifier = LeftOn(fashion.classifier).eval()
    if says_so:
        classifier.random = True
    found = measure(tmp_path, classifier, defenses=["none", "bits:3"], images=4)
    for name in ("none", "bits:3"):
        assert found.defense(name).random
        assert found.defense(name).random_classifier
        checks = [
            c
            for c in found.checks
            if c.name == f"{name}: a classifier that draws at random says so"
        ]
        assert [check.passed for check in checks] == [says_so]
        assert ("is dropout left on?" in checks[0].detail) is not says_so
    assert all(row.resubmitted for row in found.results)
    assert set(made) == {("Expectation", True)}


def test_what_draws_is_found_by_calling_it_twice(fashion):
    classifier, images = fashion.classifier, fashion.images
    assert not draws_at_random(classifier, images)
    assert not draws_at_random(fashion.defended, images)
    assert draws_at_random(LeftOn(classifier).eval(), images)
    assert draws_at_random(Coin(0.5).eval(), images)
    # At its word: this one draws too rarely to be seen.
    assert draws_at_random(DefendedClassifier(GaussianNoise(1e-9), classifier), images)
