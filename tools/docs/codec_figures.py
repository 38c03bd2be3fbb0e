"""The figures of compressed files."""

from collections.abc import Mapping

import altair as alt

from comdefend.report.charts import COLORS, GREY, Figure, Panel, Style, lines, look
from tools.bd_rate import Curve
from tools.docs.records import read
from tools.docs.tables.codec import (
    accuracy_curve,
    accuracy_record,
    curve,
    rate_set,
    term_curve,
    term_name,
)
from tools.docs.tables.speed import attack_title
from tools.rate_term import RateTerm

_OWN = {
    "photo": Style(COLORS[0]),
    "photo-clean": Style(COLORS[4], "triangle-up"),
    "photo-guided": Style(COLORS[5], "diamond"),
    "rgb-variable": Style(COLORS[2], "triangle-left"),
}
_OTHERS = {
    "JPEG": Style(COLORS[1], "square"),
    "mozjpeg": Style(COLORS[1], "cross", (6, 2)),
    "WebP": Style(COLORS[3], "triangle-down"),
    "AVIF": Style(COLORS[3], "triangle-right", (6, 2)),
    "JPEG XL": Style(GREY, "diamond", (2, 2)),
}
_STYLES = _OWN | _OTHERS


def codec_figure() -> Figure:
    """Draw fidelity, and accuracy clean and attacked, against the bits of whole files."""
    panels = [
        _panel(f"Fidelity: {data}", f"{measure}, dB", _fidelities(data, measure))
        for data, measure in (
            ("photos/val", "PSNR"), ("photos/val", "MS-SSIM"), ("cifar10", "PSNR"),
        )
    ]  # fmt: skip
    attacks = accuracy_record().attacks
    titles = ["clean", *(attack_title(attack) for attack in attacks)]
    panels += [
        _panel(f"Accuracy: {title}", "%", _accuracies(place)) for place, title in enumerate(titles)
    ]
    return Figure("Fidelity and accuracy against the size of files", "", panels, across=3)


def _fidelities(data: str, measure: str) -> dict[str, Curve]:
    codecs = dict.fromkeys(point.codec for point in rate_set(data).points)
    return {codec: curve(data, codec, measure) for codec in codecs if codec in _STYLES}


def _accuracies(place: int) -> dict[str, Curve]:
    codecs = dict.fromkeys(point.codec for point in accuracy_record().points)
    return {
        codec: [(bpp, 100 * share) for bpp, share in accuracy_curve(codec, place)]
        for codec in codecs
    }


def term_figure() -> Figure:
    """Draw what each term in the loss does at the highest rate, from no weight to much.

    Beside it the rates of the purifier that had none: what lies above that line is a gain.
    """
    runs = read(RateTerm, "rate-term").runs
    (none,) = (run for run in runs if run.term == "none")
    top = term_curve(none)[-1]
    curves: dict[str, list[tuple[float, float]]] = {"its rates, nothing added": [*term_curve(none)]}
    for run in runs:
        if run is not none:
            curves.setdefault(term_name(run.term), [top]).append(term_curve(run)[-1])
    looks = (Style(GREY, "circle", (2, 2)), Style(COLORS[1], "square"), Style(COLORS[0], "diamond"))
    styles = dict(zip(curves, looks, strict=True))
    panel = _panel("Photographs held out, at 2 bits of code", "PSNR, dB", curves, styles)
    return Figure("Fidelity against bits, by what was added to the loss", "", [panel])


def _panel(
    heading: str, unit: str, curves: Mapping[str, Curve], styles: Mapping[str, Style] = _STYLES
) -> Panel:
    points = [
        {"series": codec, "x": bpp, "y": value}
        for codec, pairs in curves.items()
        for bpp, value in pairs
    ]
    scale = alt.Scale(type="log", base=2, nice=False, padding=8)
    axis = alt.Axis(values=[0.125, 0.25, 0.5, 1, 2, 4, 8], format="~g")
    x = alt.X("x:Q", title="bits per pixel", scale=scale, axis=axis)
    y = alt.Y("y:Q", title=unit, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))
    return lines(points, look(styles), x, y, alt.Title(heading))
