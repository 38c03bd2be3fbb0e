"""Against scipy's own tests, published tables and exact sums."""

import pytest
from scipy.stats import binom, binomtest, norm

from comdefend.certification.bounds import (
    certified_radius,
    is_hopeless,
    is_majority,
    largest_radius,
    lower_bound,
)


@pytest.mark.parametrize("draws", [1, 10, 137, 100_000])
@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_the_bound_is_scipys(draws, alpha):
    for share in (0, 0.1, 0.5, 0.9, 1):
        hits = round(share * draws)
        test = binomtest(hits, draws, alternative="greater")
        interval = test.proportion_ci(confidence_level=1 - alpha, method="exact")
        assert lower_bound(hits, draws, alpha) == pytest.approx(interval.low, abs=1e-9)


@pytest.mark.parametrize(
    ("hits", "draws", "published"),
    # The lower ends of two-sided 95 % intervals, Newcombe 1998, Table I, method 5.
    [(81, 263, 0.2527), (15, 148, 0.0578), (0, 20, 0.0), (1, 29, 0.0009)],
)
def test_the_bound_is_the_published_one(hits, draws, published):
    assert lower_bound(hits, draws, 0.025) == pytest.approx(published, abs=1e-4)


@pytest.mark.parametrize("draws", [10, 100, 1000])
@pytest.mark.parametrize("probability", [0.5, 0.501, 0.7, 0.95, 0.999])
def test_the_bound_is_too_high_with_probability_alpha_at_most(draws, probability):
    for alpha in (0.001, 0.05):
        wrong = sum(
            binom.pmf(hits, draws, probability)
            for hits in range(draws + 1)
            if lower_bound(hits, draws, alpha) > probability
        )
        assert wrong <= alpha


def test_the_radius_is_that_of_the_paper():
    for lower in (0.51, 0.75, 0.99, 0.9999):
        assert certified_radius(lower, 0.25) == pytest.approx(0.25 * norm.ppf(lower))
    assert certified_radius(0.5, 0.25) == certified_radius(0.2, 0.25) == 0
    # If all draws agree: alpha^(1/n). Cohen et al., Section 4: about 3.8 sigma for 100,000 draws.
    assert largest_radius(1000, 0.001, 1) == pytest.approx(norm.ppf(0.001 ** (1 / 1000)))
    assert [round(largest_radius(n, 0.001, 1), 2) for n in (1000, 10_000, 100_000)] == [
        2.46, 3.2, 3.81,
    ]  # fmt: skip


def test_hopeless_is_what_ends_in_an_abstention_whatever_comes():
    draws, alpha = 60, 0.01
    for drawn in range(draws + 1):
        for hits in range(drawn + 1):
            best = max(lower_bound(hits + k, draws, alpha) for k in range(draws - drawn + 1))
            assert is_hopeless(hits, drawn, draws, alpha) == (best <= 0.5)


def test_a_majority_is_what_the_two_sided_test_shows():
    for first in range(40):
        for second in range(first + 1):
            if first:
                p = binomtest(first, first + second, 0.5).pvalue
                assert is_majority(first, second, 0.05) == (p <= 0.05)
    assert not is_majority(5, 0, 0.05)  # 2 / 2^5 = 0.0625
    assert is_majority(6, 0, 0.05)
