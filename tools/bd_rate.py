"""How many more or fewer bits a codec takes than another at equal fidelity."""

from collections.abc import Sequence

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
        ValueError: They have no fidelity in common.
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


def _logarithms(curve: Curve) -> PchipInterpolator:
    ordered = sorted((fidelity, bpp) for bpp, fidelity in curve)
    return PchipInterpolator(
        [fidelity for fidelity, _ in ordered], [np.log(bpp) for _, bpp in ordered]
    )
