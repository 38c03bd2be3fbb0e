"""The figure of the results page: what each defence keeps at one bound."""

import altair as alt

from comdefend.evaluation.record import Record
from comdefend.evaluation.statistics import worst_case
from comdefend.report.charts import COLORS, GREY, Figure, Panel, Style, dots, look, percentages
from comdefend.report.figures import point_of
from comdefend.report.summary import percent
from tools.docs.records import evaluation

EPS = 8
_PANELS = {"cifar10": "CIFAR-10", "imagenet": "ImageNet sample, 224x224"}
_STYLES = {
    "clean": Style(GREY, "diamond"),
    "oblivious": Style(COLORS[0], "circle"),
    "adaptive": Style(COLORS[1], "square"),
}


def overview() -> str:
    """Return it as SVG."""
    panels = [_panel(evaluation(name), title) for name, title in _PANELS.items()]
    return Figure("What each defence keeps, clean and within 8/255", "", panels, across=2).svg


def _panel(record: Record, title: str) -> Panel:
    queries: dict[str, dict[str, str | float]] = {
        "clean": {"threat": "clean"},
        "oblivious": {"threat": "oblivious", "attack": "bim", "eps": EPS},
        "adaptive": {"threat": "adaptive", "eps": EPS},
    }
    points: list[dict[str, str | float]] = []
    for name in record.defense_names:
        for kind, query in queries.items():
            share = worst_case(record.rows(defense=name, **query))  # type: ignore[arg-type]
            if share is not None:
                point = point_of(share, "x")
                text = {"text": percent(share.accuracy), "end": point["high"]}
                points.append({"name": name, "kind": kind, "start": 0, **point, **text})
    heading = alt.Title(title, subtitle=f"attacks within {EPS}/255")
    tips = {"name": "defence", "kind": "threat"}
    looks = look(_STYLES, "kind")
    return dots(
        points, record.defense_names, looks, percentages(alt.X), heading, tips, list(_STYLES)
    )
