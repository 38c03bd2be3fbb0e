"""The figures of the documents, as SVG."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import altair as alt

from comdefend.bench.figures import FIGURES
from comdefend.bench.record import Record as Benchmark
from comdefend.evaluation.findings import Defense
from comdefend.evaluation.record import UNDEFENDED, Record, Row
from comdefend.evaluation.statistics import Share
from comdefend.report.charts import (
    COLORS,
    GREY,
    Figure,
    Look,
    Panel,
    Rows,
    Style,
    levels,
    lines,
    look,
    of,
    percentages,
)
from comdefend.report.figures import accuracy_against_eps, point_of
from tools.docs.codec_figures import codec_figure, term_figure
from tools.docs.records import evaluation, read
from tools.docs.steps import steps
from tools.docs.tables.certified import certified_curves
from tools.docs.tradeoff import tradeoff

_BLUE, _RED, _GREEN = COLORS[:3]
_DASHED = Style(GREY, "square", (6, 2))
_LADDERS = ("ladder", "fashion-mnist-ladder")
# Evaluations whose accuracy against eps is drawn.
_AGAINST_EPS = ("cifar10", "fashion-mnist", "imagenet")
# Bounds of the ladders, from small perturbations to large ones.
_BOUNDS = {2: COLORS[4], 4: _BLUE, 8: _RED, 16: "#7b3294"}
# How the name of a network for several rates begins.
_NESTED = "one network"


class _Case(NamedTuple):
    """A series of accuracies: its name, and the rows it is made of."""

    series: str
    threat: str = "clean"
    attack: str | None = None
    eps: float | None = None

    def row(self, record: Record, defense: str) -> Row:
        """Return a defence's row; of the bare classifier, an adaptive one has that threat."""
        rows = record.rows(defense=defense, threat=self.threat, attack=self.attack, eps=self.eps)
        return next(row for row in rows if row.threat == self.threat)


def charts() -> dict[str, str]:
    """Return every figure by its path below ``docs``."""
    bench = read(Benchmark, "bench-avx512")
    figures = {name: draw(bench) for name, draw in FIGURES.items()}
    figures |= {name: ladder(evaluation(name)) for name in _LADDERS}
    figures["noise"] = noise(evaluation("noise"))
    figures["certified"] = certified_curves("cifar10")
    figures["steps"] = steps(evaluation("weaker-attacks"))
    figures["photographs"] = tradeoff(evaluation("photographs"))
    figures |= {"codec": codec_figure(), "codec-terms": term_figure()}
    for name in _AGAINST_EPS:
        if figure := accuracy_against_eps(evaluation(name), "Linf"):
            figures[f"{name}-accuracy"] = figure
    return {f"{name}.svg": figure.svg for name, figure in figures.items()}


def ladder(record: Record) -> Figure:
    """Draw fidelity and accuracy against the rate of the code."""
    every = [d for d in record.defenses if d.name[0].isdigit() or d.name.startswith(_NESTED)]
    rungs = {d.name: {"network": _network(d), "x": d.bpp} for d in every}
    kinds = {_network(d): _DASHED if _network(d) == _NESTED else Style(GREY) for d in every}
    bounds = {f"{eps}/255": Style(color) for eps, color in _BOUNDS.items()}
    colors = look({"clean": Style(_GREEN)} | bounds, title="clean, or attacked within")
    style = look(kinds, "network", legend=len(kinds) > 1) | {"color": colors["color"]}
    rates = alt.Axis(values=sorted({d.bpp for d in every if d.bpp}), format="~g")
    scale = alt.Scale(type="log", base=2, nice=False, padding=8)
    x = alt.X("x:Q", title="bits per pixel", axis=rates, scale=scale)
    fidelity = [{"series": "clean", "y": d.psnr, **rungs[d.name]} for d in every]
    oblivious, adaptive = (
        [_Case("clean"), *(_Case(f"{eps}/255", threat, attack, eps) for eps in _BOUNDS)]
        for threat, attack in (("oblivious", "bim"), ("adaptive", "pgd"))
    )
    panels = [
        _fidelity(record, oblivious[1:], fidelity, style, x),
        _accuracy(record, oblivious, rungs, style, x, "Accuracy, BIM on the bare classifier"),
        _accuracy(record, adaptive, rungs, style, x, "Accuracy, PGD through the purifier"),
    ]
    return Figure("Fidelity and accuracy against bits per pixel", "", panels)


def _network(defense: Defense) -> str:
    return _NESTED if defense.name.startswith(_NESTED) else "a network for each rate"


def _fidelity(record: Record, attacks: Iterable[_Case], rows: Rows, style: Look, x: alt.X) -> Panel:
    psnr = {case.series: case.row(record, UNDEFENDED).perturbation_psnr or 0 for case in attacks}
    sizes = [{"series": name, "text": f"BIM {name}", "y": y} for name, y in psnr.items()]
    # Room for the topmost name.
    room = alt.Scale(zero=False, domainMax=max(psnr.values()) + 2)
    y = alt.Y("y:Q", title="PSNR, dB", scale=room)
    names = of(sizes).mark_text(align="right", dy=-6)
    names = names.encode(x=alt.value("width"), y=y, text="text:N", color=style["color"])
    title = alt.Title("How faithful purified images are", subtitle="dotted: perturbations")
    return levels(sizes, style, y) + lines(rows, style, x, y, title) + names


def _accuracy(
    record: Record,
    cases: Iterable[_Case],
    places: Mapping[str, Mapping[str, Any]],
    style: Look,
    x: alt.X,
    title: str,
    bars: bool = False,
) -> Panel:
    """Draw the accuracy of each defence, at its place on the axis, and of the bare classifier."""
    rows, bare = [], []
    for case in cases:
        for name, place in places.items():
            row = case.row(record, name)
            point = point_of(Share(row.accuracy, *row.interval, row.images), "y")
            rows.append({"series": case.series, **(point if bars else {"y": point["y"]}), **place})
        accuracy = case.row(record, UNDEFENDED).accuracy
        bare.append({"series": case.series, "y": 100 * accuracy})
    heading = alt.Title(title, subtitle="dotted: no purifier")
    y = percentages(alt.Y)
    return levels(bare, style, y) + lines(rows, style, x, y, heading)


def noise(record: Record) -> Figure:
    """Draw what the noise of the training does to logits, code, images and accuracy."""
    networks = {float(d.name.removeprefix("phi ")): d for d in record.defenses if d.code}
    scale = alt.Scale(domain=list(networks))
    x = alt.X("x:O", title="phi of the training", axis=alt.Axis(labelAngle=0), scale=scale)
    cases = {
        _Case("clean"): Style(_GREEN),
        _Case("BIM, oblivious", "oblivious", "bim", 8): Style(_BLUE, "triangle-up"),
        _Case("PGD, adaptive", "adaptive", "pgd", 8): Style(_RED, "square"),
    }
    style = look({case.series: style for case, style in cases.items()})
    places = {d.name: {"x": phi} for phi, d in networks.items()}
    panels = [
        _logits(networks, x),
        _flips(networks, x),
        _error(networks, x),
        _accuracy(record, cases, places, style, x, "Accuracy within 8/255", bars=True),
    ]
    title = "Logits, flipped bits, reconstruction and accuracy against phi"
    return Figure(title, "", panels, across=2, shared=False)


def _logits(networks: Mapping[float, Defense], x: alt.X) -> Panel:
    quantiles = {
        phi: dict(zip(d.code.quantiles, d.code.abs_z_quantiles, strict=True))
        for phi, d in networks.items()
        if d.code
    }
    rows = [{"series": "median of |z|", "x": phi, "y": q[0.5]} for phi, q in quantiles.items()]
    rows += [{"series": "phi", "x": phi, "y": phi} for phi in quantiles if phi > 0]
    band = of([{"x": phi, "y": q[0.05], "high": q[0.9]} for phi, q in quantiles.items()])
    y = alt.Y("y:Q", title="|z|", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=3))
    area = band.mark_area(color=_BLUE, opacity=0.15).encode(x=x, y=y, y2="high:Q")
    style = look({"median of |z|": Style(_BLUE), "phi": _DASHED})
    title = alt.Title("How far logits are from the threshold", subtitle="shaded: 5 % to 90 %")
    return area + lines(rows, style, x, y, title)


def _flips(networks: Mapping[float, Defense], x: alt.X) -> Panel:
    names = {"bim": "BIM on the classifier", "random": "±8/255 at random"}
    rows = [
        {"series": names[flip.change], "x": phi, "y": 100 * flip.share}
        for phi, d in networks.items()
        for flip in (d.code.flips if d.code else ())
        if flip.change in names and flip.eps == 8
    ]
    style = look(dict(zip(names.values(), (Style(_RED), _DASHED), strict=True)))
    y = alt.Y("y:Q", title="bits, %", axis=alt.Axis(tickCount=5))
    title = alt.Title("Bits of the code that change", subtitle="images change within 8/255")
    return lines(rows, style, x, y, title)


def _error(networks: Mapping[float, Defense], x: alt.X) -> Panel:
    """Without noise the image is lost: on an axis with that, all others would look alike."""
    (lost, first), *others = networks.items()
    rows = [{"series": "PSNR", "x": phi, "y": d.psnr} for phi, d in others]
    y = alt.Y("y:Q", title="PSNR, dB", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))
    hidden = f"not shown: phi {lost:g}, {first.psnr or 0:.1f} dB"
    title = alt.Title("Clean images, purified", subtitle=hidden)
    return lines(rows, look({"PSNR": Style(_BLUE)}, legend=False), x, y, title)
