"""What workers of a Ray cluster add."""

from statistics import median

from tools.docs.records import read
from tools.ray_rate import RayPurify


def ray_purify() -> RayPurify:
    """Return the record."""
    return read(RayPurify, "ray-purify")


def ray_rates() -> str:
    """Return images a second without Ray, with one worker and with two, and their ratios."""
    record = ray_purify()
    alone, one, two = (median(rates) for rates in (record.alone, record.one, record.two))
    return (
        f"{alone:.1f} images a second without Ray on one core, {one:.1f} with one worker and "
        f"{two:.1f} with two: one worker does {100 * record.one_to_alone:.0f} % of what a core "
        f"does without Ray, and the second adds {100 * (record.two_to_one - 1):.0f} % of the first"
    )


def ray_start() -> float:
    """Return the seconds until the first image is there."""
    return median(ray_purify().started)
