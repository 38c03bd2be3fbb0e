"""Learning probability tables from codes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comdefend.codec.contexts import Contexts, Integers, bins_of
from comdefend.codec.levels import Levels
from comdefend.codec.tables import (
    BINS,
    CLASSES,
    FRACTION,
    SCALES,
    TOTAL,
    Tables,
)

_RIDGE = 10.0
"""Added to the diagonal of the sums of products, in squared halves of a level."""
_WIDTHS = 4
"""Widths of distributions to an octave."""
_NARROWEST = 1 / 8
"""The narrowest width, in levels."""
_LEAST = 8
"""Least frequency of a level, of `TOTAL`: what never occurred still can."""

Floats = npt.NDArray[np.float64]


def learn_tables(codes: Sequence[Levels], levels: int) -> Tables:
    """Return the probability tables that fit codes.

    Values are predicted by least squares, and distributions counted.

    Args:
        codes: The values of codes of images, (V, height, width) each.
        levels: Number L of levels.
    """
    tables = _predicting(codes, levels)
    contexts = [Contexts(tables, *code.shape[1:]) for code in codes]
    counts = np.zeros((SCALES, BINS, levels), np.int64)
    for value in range(len(tables.bias)):
        for parity in range(2):
            found = [
                c.signals(parity, code[value]) for c, code in zip(contexts, codes, strict=True)
            ]
            predictions, activity = (np.concatenate(parts) for parts in zip(*found, strict=True))
            actual = np.concatenate([code[value, parity::2].reshape(-1) for code in codes])
            if actual.size == 0:
                continue
            edges = np.quantile(activity, np.linspace(0, 1, CLASSES + 1)[1:-1], method="lower")
            tables.edges[value, parity] = edges
            classes = np.searchsorted(tables.edges[value, parity], activity, "right")
            off = _in_levels(predictions, levels) - actual
            tables.scales[value, parity] = scales = _scales(off, classes)
            np.add.at(counts, (scales[classes], bins_of(predictions), actual), 1)
        for context, code in zip(contexts, codes, strict=True):
            context.add(code[value])
    tables.frequencies[:] = _frequencies(counts)
    return tables


def _predicting(codes: Sequence[Levels], levels: int) -> Tables:
    """Return tables that predict, and whose other entries are empty."""
    values = len(codes[0])
    tables = Tables(
        weights=np.zeros((values, 2, 5, values), np.int16),
        own=np.zeros((values, 2), np.int16),
        bias=np.zeros((values, 2), np.int32),
        edges=np.zeros((values, 2, CLASSES - 1), np.int32),
        scales=np.zeros((values, 2, CLASSES), np.uint8),
        frequencies=np.zeros((SCALES, BINS, levels), np.uint16),
    )
    # A bin counts as 1, and all of them cover the values.
    unit = BINS / (2 * levels) * 2**FRACTION
    for parity in range(2):
        products = np.zeros((7 * values + 1, 7 * values + 1))
        for code in codes:
            products += _products(code, parity, levels)
        products[np.diag_indices_from(products)] += _RIDGE
        for value in range(values):
            before = [place * values + u for place in range(5) for u in range(value)]
            own = [place * values + value for place in (5, 6)] if parity else []
            used = [*before, *own, 7 * values]
            solved = np.linalg.solve(products[np.ix_(used, used)], products[used, value]) * unit
            whole = np.round(np.clip(solved, -32767, 32767)).astype(np.int32)
            tables.weights[value, parity, :, :value] = whole[: len(before)].reshape(5, value)
            if own:
                tables.own[value] = whole[len(before) : -1]
            tables.bias[value, parity] = round(solved[-1])
    return tables


def _products(code: Levels, parity: int, levels: int) -> Floats:
    """Return the sums of products of all that may predict, over the rows of a parity.

    These are the values at a place, to its left and right, above and below; sums of those above
    and below, and of those to the left and right of these; and a constant 1.
    """
    values, height, width = code.shape
    padded = np.zeros((values, height + 2, width + 2))
    padded[:, 1:-1, 1:-1] = 2.0 * code - (levels - 1)

    def seen(down: int, right: int) -> Floats:
        part = padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
        return part[:, parity::2].reshape(values, -1)

    above, below = seen(-1, 0), seen(1, 0)
    corners = seen(-1, -1) + seen(-1, 1) + seen(1, -1) + seen(1, 1)
    parts = [seen(0, 0), seen(0, -1), seen(0, 1), above, below, above + below, corners]
    all_seen = np.concatenate([*parts, np.ones((1, parts[0].shape[1]))])
    return all_seen @ all_seen.T


def _in_levels(predictions: Integers, levels: int) -> Floats:
    """Return predictions on the scale of the levels."""
    return predictions / 2**FRACTION * (levels / BINS) + (levels - 1) / 2


def _scales(off: Floats, classes: Integers) -> npt.NDArray[np.uint8]:
    """Return the width of each class, from the errors of the predictions."""
    squares = np.bincount(classes, off**2, CLASSES)
    spread = np.sqrt(squares / np.maximum(np.bincount(classes, minlength=CLASSES), 1))
    octaves = np.log2(np.maximum(spread, _NARROWEST) / _NARROWEST)
    return np.clip(np.round(octaves * _WIDTHS), 0, SCALES - 1).astype(np.uint8)


def _frequencies(counts: Integers) -> npt.NDArray[np.uint16]:
    """Return counts as frequencies that add up to `TOTAL`."""
    levels = counts.shape[2]
    free = TOTAL - levels * _LEAST
    # What was never seen is as likely as anything.
    smoothed = counts + 0.05
    shares = smoothed / smoothed.sum(2, keepdims=True)
    found = np.floor(shares * free).astype(np.int64) + _LEAST
    rest = TOTAL - found.sum(2, keepdims=True)
    np.put_along_axis(
        found,
        (most := counts.argmax(2, keepdims=True)),
        np.take_along_axis(found, most, 2) + rest,
        2,
    )
    return found.astype(np.uint16)
