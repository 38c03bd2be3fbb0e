"""What counts of answers prove, by exact binomial bounds.

Cohen, Rosenfeld and Kolter, "Certified Adversarial Robustness via Randomized Smoothing" (ICML
2019). Their Theorem 1: if the base classifier gives the class A with probability at least p > 1/2
under noise of standard deviation sigma, then no change of L2 length below sigma * Phi^-1(p) alters
the answer of the smoothed classifier, where Phi is the distribution function of the standard
normal distribution.
"""

from typing import Any

from comdefend.common.extras import require


def lower_bound(hits: int, draws: int, alpha: float) -> float:
    """Return a lower bound on a probability, by Clopper and Pearson (1934), one-sided.

    Over all that may be drawn, the bound lies above the probability in a share alpha at most.

    Args:
        hits: How often it happened, in so many draws.
        draws: At least 1; a number that was settled before the first draw.
        alpha: In (0, 1).
    """
    return float(_special().betaincinv(hits, draws - hits + 1, alpha)) if hits else 0.0


def certified_radius(lower: float, sigma: float) -> float:
    """Return the L2 radius of Theorem 1 with p_B = 1 - p_A; 0 where the bound is not above 1/2.

    Args:
        lower: Lower bound on the probability of the answer, below 1.
        sigma: Standard deviation of the noise.
    """
    return sigma * float(_special().ndtri(lower)) if lower > 0.5 else 0.0


def largest_radius(draws: int, alpha: float, sigma: float) -> float:
    """Return the radius where all draws give the same answer; no number of hits gives more."""
    return certified_radius(lower_bound(draws, draws, alpha), sigma)


def is_hopeless(hits: int, drawn: int, draws: int, alpha: float) -> bool:
    """Return whether the bound stays at 1/2 or below even if all other draws are hits.

    More hits give a higher bound. So where this holds, the draws that are left could only end in
    the same abstention: to stop then changes no answer and no radius, and no probability of error.

    Args:
        hits: How often the guess was right so far.
        drawn: In so many draws.
        draws: In all.
        alpha: In (0, 1).
    """
    return lower_bound(hits + draws - drawn, draws, alpha) <= 0.5


def is_majority(first: int, second: int, alpha: float) -> bool:
    """Return whether the more frequent of two answers is shown to be the more probable one.

    Hung and Fithian's test of the winner ("Rank verification for exponential families", 2019), as
    in PREDICT of Cohen et al., Section 3.2.1: the two-sided binomial test of 1/2.

    Args:
        first: How often the most frequent answer came.
        second: How often the next one did.
        alpha: Probability, at most, of naming a class that is not the most probable one.
    """
    return 2 * float(_special().bdtr(second, first + second, 0.5)) <= alpha


def _special() -> Any:
    return require("scipy.special", "evaluate")
