"""How many more or fewer bits a codec takes than another at equal fidelity."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.interpolate import PchipInterpolator

Curve = Sequence[tuple[float, float]]
"""Bits per pixel and fidelity, in any order; more bits mean more fidelity."""


def rate_difference(curve: Curve, reference: Curve) -> float:
    """Return how many more bits a codec takes than a reference, as a share of 1.

    The Bjontegaard delta rate (ITU-T VCEG-M33, 2001): the mean difference of the logarithms of the
    rates, between curves through the points (piecewise cubic, monotone), over the fidelity that
    both reach.

    Args:
        curve, reference: At least two points each.

    Raises:
        ValueError: They have no fidelity in common, or a point of more bits has less of it.
    """
    own, other = (_logarithms(each) for each in (curve, reference))
    low, high = max(own.x[0], other.x[0]), min(own.x[-1], other.x[-1])
    if low >= high:
        raise ValueError("the two have no fidelity in common")
    difference = own.integrate(low, high) - other.integrate(low, high)
    return float(np.exp(difference / (high - low)) - 1)


def at_rate(curve: Curve, bpp: float) -> float | None:
    """Return the fidelity of a curve at a rate, on straight lines over the rate's logarithm.

    None where the rate lies beyond the curve.
    """
    ordered = sorted(curve)
    rates = [rate for rate, _ in ordered]
    if not rates[0] <= bpp <= rates[-1]:
        return None
    return float(np.interp(np.log(bpp), np.log(rates), [fidelity for _, fidelity in ordered]))


def first_rate(curve: Curve, fidelity: float) -> float | None:
    """Return the lowest rate at which a curve reaches a fidelity, on the lines of `at_rate`.

    None where it never does; its first point where it begins above.
    """
    ordered = sorted(curve)
    if ordered[0][1] >= fidelity:
        return ordered[0][0]
    for (low, below), (high, above) in pairwise(ordered):
        if above >= fidelity:
            share = (fidelity - below) / (above - below)
            return float(low ** (1 - share) * high**share)
    return None


def _logarithms(curve: Curve) -> PchipInterpolator:
    bpps, fidelities = zip(*sorted(curve), strict=True)
    if list(fidelities) != sorted(set(fidelities)):
        raise ValueError("more bits must mean more fidelity")
    return PchipInterpolator(fidelities, np.log(bpps))
