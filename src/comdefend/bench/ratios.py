"""Comparisons within a run: ratios between jobs that took turns."""

import statistics
from collections.abc import Iterable, Sequence

from comdefend.bench.jobs import BASELINE, PHOTO, RESNET
from comdefend.bench.record import Ratio, Row, Subject, fastest, select


def ratios(rows: Iterable[Row]) -> list[Ratio]:
    """Return comparisons on one image of 224x224; above 1 is in the purifier's favour.

    ``against_baseline``: time of the largest network in float32 torch over that of each purifier
    by its fastest engine.

    ``against_float32``: time in float32 over that in each other precision, by the same engine.

    ``against_resnet``: time of ResNet-50 over that of each purifier, by the same engine in the same
    precision, and, where that is another pair, each in its fastest precision.

    ``peak_bfloat16``: the largest share of a matrix product's speed that the largest network
    reaches in bfloat16.
    """
    rows = select(rows, size=PHOTO)
    purifiers = select(rows, kind="purifier")
    if not purifiers:
        return []
    largest = max(purifiers, key=lambda row: row.gflop or 0).weights
    return [
        *_against_baseline(purifiers, largest),
        *_against_float32(purifiers),
        *_against_resnet(purifiers, select(rows, weights=RESNET)),
        *_share_of_peak(select(purifiers, weights=largest, precision="bfloat16")),
    ]


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.weights for row in rows))


def _against_baseline(purifiers: Sequence[Row], largest: str) -> list[Ratio]:
    engine, precision = BASELINE
    return [
        _ratio("against_baseline", best, base)
        for name in _names(purifiers)
        if (best := fastest(purifiers, weights=name))
        for base in select(purifiers, weights=largest, engine=engine, precision=precision)
    ]


def _against_float32(purifiers: Sequence[Row]) -> list[Ratio]:
    return [
        _ratio("against_float32", row, base)
        for row in purifiers
        if row.precision != "float32"
        for base in select(purifiers, weights=row.weights, engine=row.engine, precision="float32")
    ]


def _against_resnet(purifiers: Sequence[Row], resnets: Sequence[Row]) -> list[Ratio]:
    compared = []
    for resnet in resnets:
        for name in _names(purifiers):
            mine = select(purifiers, weights=name, engine=resnet.engine)
            pairs = select(mine, precision=resnet.precision)
            best = fastest(mine)
            at_its_best = fastest(resnets, engine=resnet.engine) is resnet
            if best and best not in pairs and at_its_best:
                pairs.append(best)
            compared += [_ratio("against_resnet", row, resnet) for row in pairs]
    return compared


def _share_of_peak(rows: Sequence[Row]) -> list[Ratio]:
    best = max(rows, key=lambda row: row.share_of_peak or 0, default=None)
    if best is None or not best.share_of_peak:
        return []
    return [
        Ratio(
            what="peak_bfloat16",
            value=best.share_of_peak,
            weights=best.weights,
            engine=best.engine,
            precision=best.precision,
            to=None,
        )
    ]


def _ratio(what: str, row: Row, other: Row) -> Ratio:
    """Compare round by round, since jobs take turns; one may have sat out the last rounds."""
    pairs = zip(other.seconds_rounds, row.seconds_rounds, strict=False)
    return Ratio(
        what=what,
        value=statistics.median(there / here for there, here in pairs),
        weights=row.weights,
        engine=row.engine,
        precision=row.precision,
        to=Subject(weights=other.weights, engine=other.engine, precision=other.precision),
    )
