"""What certifications have proven."""

from collections.abc import Iterator

import altair as alt

from comdefend.certification.record import CertificationRecord, load_certification
from comdefend.evaluation.record import UNDEFENDED
from comdefend.evaluation.statistics import Share, share_of
from comdefend.report.charts import COLORS, Figure, Style, lines, look, percentages
from comdefend.report.summary import percent
from tools.docs.markdown import EMPTY, table
from tools.docs.records import RECORDS

RADII = (0.0, 0.25, 0.5, 0.75, 1.0)
"""In L2, for images in [0, 1]."""
_POINTS = 200


def certifications(data: str) -> list[CertificationRecord]:
    """Return the records of one data set, from small noise to large."""
    found = map(load_certification, sorted(RECORDS.glob("certified-*.json")))
    wanted = [record for record in found if record.settings.data == data]
    return sorted(wanted, key=lambda record: (record.settings.sigma, _pipeline(record)))


def certified(data: str) -> str:
    """Return a row for each certification: certified accuracy by L2 radius."""
    head = ["pipeline", "sigma", "n", "images", *(f"{radius:g}" for radius in RADII)]
    rows = [
        [
            _pipeline(record),
            f"{record.settings.sigma:g}",
            f"{record.settings.n:,}",
            f"{record.data.images}",
            *(_cell(record, radius) for radius in RADII),
        ]
        for record in certifications(data)
    ]
    return table(head, rows)


def certified_share(data: str, classifier: str, radius: float) -> str:
    """Return the best certified accuracy of a classifier at a radius, over all sigmas."""
    shares = [
        _share(record, radius).accuracy
        for record in certifications(data)
        if record.settings.classifier == classifier and radius <= record.largest_radius
    ]
    return percent(max(shares))


def certified_gap(data: str) -> str:
    """Return what is certified of attacked images, and what an attack leaves, by radius."""
    head = ["pipeline", "sigma", "radius", "images", "certified", "attacked", "classifier alone"]
    rows = [
        [
            _pipeline(record),
            f"{record.settings.sigma:g}",
            f"{level.radius:g}",
            f"{level.compared.images}",
            *(percent(share.accuracy) for share in (level.compared, level.smoothed, level.bare)),
        ]
        for record in certifications(data)
        for level in record.levels
        if level.compared and level.smoothed and level.bare and 0 < level.radius <= max(RADII)
    ]
    return table(head, rows)


def certified_curves(data: str) -> Figure:
    """Draw certified accuracy against the radius, a panel for each sigma."""
    records = certifications(data)
    names = dict.fromkeys(map(_series, records))
    looks = look({name: Style(color) for name, color in zip(names, COLORS, strict=False)})
    most = max(record.largest_radius for record in records)
    x = alt.X("x:Q", title="L2 radius", scale=alt.Scale(domain=[0, most], nice=False))
    panels = []
    for sigma in dict.fromkeys(record.settings.sigma for record in records):
        points = [
            point
            for record in records
            if record.settings.sigma == sigma
            for point in _curve(record)
        ]
        panels.append(lines(points, looks, x, percentages(alt.Y), alt.Title(f"sigma {sigma:g}")))
    return Figure("Certified accuracy against the L2 radius", "", panels, across=3)


def _curve(record: CertificationRecord) -> Iterator[dict[str, str | float]]:
    for step in range(_POINTS + 1):
        radius = record.largest_radius * step / _POINTS
        share = _share(record, radius)
        yield {"series": _series(record), "x": radius, "y": 100 * share.accuracy}


def _series(record: CertificationRecord) -> str:
    """Return a name that a legend has room for."""
    asked = record.settings
    return f"{asked.classifier}, {'alone' if asked.defense == UNDEFENDED else 'purified'}"


def _pipeline(record: CertificationRecord) -> str:
    asked = record.settings
    if asked.defense == UNDEFENDED:
        return f"`{asked.classifier}` alone"
    return f"`{asked.classifier}` behind `{asked.defense}`"


def _cell(record: CertificationRecord, radius: float) -> str:
    if radius > record.largest_radius:
        return EMPTY
    share = _share(record, radius)
    return f"{percent(share.accuracy)} ({100 * share.low:.0f} to {100 * share.high:.0f})"


def _share(record: CertificationRecord, radius: float) -> Share:
    return share_of("".join(str(int(image.withstands(radius))) for image in record.images))
