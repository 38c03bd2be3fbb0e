"""What documents say of a run: ratios of what took turns within it."""

import statistics
from collections.abc import Sequence
from typing import Any

from comdefend.bench.jobs import BASELINE, PHOTO, RESNET, Shape

Row = dict[str, Any]


def size_of(row: Row) -> Shape:
    """Return N, H and W of a row's images."""
    count, _, height, width = row["shape"]
    return count, height, width


def fastest(rows: Sequence[Row], name: str, shape: Shape) -> Row | None:
    """Return the row of the engine and precision that took least time; None without any."""
    found = [row for row in rows if row["weights"] == name and size_of(row) == shape]
    return min(found, key=lambda row: row["seconds"], default=None)


def ratios(rows: Sequence[Row]) -> list[Row]:
    """Return how one image of 224x224 compares: each ratio with both of its sides.

    ``against_baseline``: float32 torch on the largest network to the fastest engine on each.
    ``against_resnet``: ResNet-50 to each purifier by the same engine, in the same precision, and
    where that is another pair, each in the one in which it is fastest.
    ``peak_bfloat16``: the largest share of a matrix product's speed that the largest network
    reaches in bfloat16. Above 1 is in the purifier's favour.
    """
    rows = [row for row in rows if size_of(row) == PHOTO]
    purifiers = [row for row in rows if row["kind"] == "purifier"]
    if not purifiers:
        return []
    largest = max(purifiers, key=lambda row: row["gflop"])["weights"]
    found = []
    base = [
        r for r in purifiers if (r["weights"], r["engine"], r["precision"]) == (largest, *BASELINE)
    ]
    for name in dict.fromkeys(row["weights"] for row in purifiers):
        best = fastest(purifiers, name, PHOTO)
        found += [_ratio("against_baseline", best, other) for other in base if best]
    for resnet in (row for row in rows if row["weights"] == RESNET):
        for name in dict.fromkeys(row["weights"] for row in purifiers):
            mine = [r for r in purifiers if (r["weights"], r["engine"]) == (name, resnet["engine"])]
            pairs = [row for row in mine if row["precision"] == resnet["precision"]]
            others = [r for r in rows if (r["weights"], r["engine"]) == (RESNET, resnet["engine"])]
            best = fastest(mine, name, PHOTO)
            if best and best not in pairs and fastest(others, RESNET, PHOTO) is resnet:
                pairs.append(best)
            found += [_ratio("against_resnet", row, resnet) for row in pairs]
    shares = [
        row
        for row in purifiers
        if (row["weights"], row["precision"]) == (largest, "bfloat16") and row["share_of_peak"]
    ]
    if shares:
        best = max(shares, key=lambda row: row["share_of_peak"])
        side = {"what": "peak_bfloat16", "value": best["share_of_peak"], **_named(best), "to": None}
        found.append(side)
    return found


def _ratio(what: str, row: Row, other: Row) -> Row:
    """Round by round, as the two took turns; one may have sat out the last rounds."""
    pairs = zip(other["seconds_rounds"], row["seconds_rounds"], strict=False)
    value = statistics.median(there / here for there, here in pairs)
    return {"what": what, "value": value, **_named(row), "to": _named(other)}


def _named(row: Row) -> Row:
    return {key: row[key] for key in ("weights", "engine", "precision")}
