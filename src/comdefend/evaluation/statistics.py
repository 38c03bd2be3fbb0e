"""Shares of images: intervals, tests, and what is left of several attacks together."""

import math
from collections.abc import Sequence
from typing import Protocol

import msgspec


class Judged(Protocol):
    """Verdicts on images, as a row of a record has them."""

    @property
    def images(self) -> int:
        """Number of images."""

    @property
    def accuracy(self) -> float:
        """Share of them that are classified correctly."""

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""

    @property
    def correct(self) -> str:
        """For each image "1" or "0"; may be empty."""


class Share(msgspec.Struct, frozen=True):
    """The share of images that are classified correctly, with its 95 % Wilson interval.

    Attributes:
        accuracy: In [0, 1].
        low, high: The interval.
        images: Number of images.
    """

    accuracy: float
    low: float
    high: float
    images: int


class Comparison(msgspec.Struct, frozen=True):
    """Two verdicts on the same images.

    Attributes:
        before, after: How many images each was right on.
        lost: On how many only the first was right.
        won: On how many only the second was.
        images: Number of images.
    """

    before: int
    after: int
    lost: int
    won: int
    images: int

    @property
    def p_value(self) -> float:
        """Two-sided p-value of `mcnemar`."""
        return mcnemar(self.lost, self.won)


def wilson_interval(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return the confidence interval of a share (Wilson 1927).

    Args:
        hits: How many of ``count`` counted.
        count: At least 1.
        z: Quantile of the normal distribution; 1.96 for 95 %.
    """
    share = hits / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + (z / count) ** 2 / 4)
    # At 0 and 1 rounding errors would leave the share itself outside.
    return min(share, max(0.0, middle - reach)), max(share, min(1.0, middle + reach))


def mcnemar(lost: int, won: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (McNemar 1947).

    Args:
        lost: On how many images only the one of two was right.
        won: On how many only the other was.
    """
    changed = lost + won
    tail = sum(math.comb(changed, k) for k in range(min(lost, won) + 1))
    return min(1.0, 2 * tail / 2**changed)


def share_of(correct: str) -> Share:
    """Return the share of images classified correctly, given "1" or "0" for each."""
    hits, count = correct.count("1"), len(correct)
    return Share(hits / count, *wilson_interval(hits, count), count)


def survivors(rows: Sequence[Judged]) -> str | None:
    """Return which images are classified correctly under every one of these attacks.

    Attacks on fewer images were made on the first ones; only images that all attacks were made on
    count.

    Returns:
        "1" or "0" for each image; None where there are no rows, or one lacks its images.
    """
    if not rows or not all(row.correct for row in rows):
        return None
    # The shortest ends the zip.
    images = zip(*(row.correct for row in rows), strict=False)
    return "".join("1" if set(image) == {"1"} else "0" for image in images)


def worst_case(rows: Sequence[Judged]) -> Share | None:
    """Return the accuracy under the worst of these attacks, image by image; None without rows.

    Where a row does not say which images were classified correctly, the row with the lowest
    accuracy stands for all.
    """
    if not rows:
        return None
    correct = survivors(rows) if len(rows) > 1 else None
    if correct is None:
        lowest = min(rows, key=lambda row: row.accuracy)
        return Share(lowest.accuracy, *lowest.interval, lowest.images)
    return share_of(correct)


def compare(before: Sequence[Judged], after: Sequence[Judged]) -> Comparison:
    """Compare what is left of two groups of attacks, image by image.

    Raises:
        ValueError: They do not stand on the same images, or one does not name its images.
    """
    one, other = survivors(before), survivors(after)
    if one is None or other is None or len(one) != len(other):
        raise ValueError("the two do not stand on the same images")
    pairs = list(zip(one, other, strict=True))
    return Comparison(
        one.count("1"),
        other.count("1"),
        pairs.count(("1", "0")),
        pairs.count(("0", "1")),
        len(pairs),
    )
