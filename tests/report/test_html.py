import base64
import io
from html.parser import HTMLParser

import msgspec
import pytest
from PIL import Image

from comdefend.errors import OutputError
from comdefend.evaluation.findings import Check
from comdefend.evaluation.panels import Panel, Prediction
from comdefend.evaluation.statistics import worst_case
from comdefend.report.html import render_report, write_report
from comdefend.report.summary import percent

# Texts that try to leave their place: in the page, in its scripts and in a chart's description.
HOSTILE = (
    "<script>window.owned=1</script>",
    "</script><script>window.owned=1</script>",
    "<!--<script>",
    '"><img src=x onerror="window.owned=1">',
    "{{ 7 * 7 }}${window.owned=1}\\u003cb",
    "</svg><style>*{display:none}",
    "javascript:window.owned=1",
    "[datum](data:text/html,x) $\\frac{$ _x",
    "toString",
    "__proto__",
)


class Page(HTMLParser):
    """Tags with their attributes, and the text that is not in a script or a style."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.inside = [], [], None
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside not in ("script", "style", "title"):
            self.words.append(data)

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def hostile(real):
    """The real record, every text that a user can choose replaced by one that tries to get out."""
    names = dict(zip(real.defense_names[1:], HOSTILE, strict=True))
    bad = HOSTILE[1]
    replace = msgspec.structs.replace
    results = [replace(row, defense=names.get(row.defense, "none"), detail=bad)
               for row in real.results]  # fmt: skip
    defenses = [replace(about, name=names.get(about.name, "none")) for about in real.defenses]
    data = replace(real.data, classes=HOSTILE, source=bad, split=bad, fingerprint=bad)
    return replace(
        real, results=tuple(results), defenses=tuple(defenses), data=data, title=bad, name=bad,
        classifier=bad, device=bad, commit=bad, versions={bad: bad},
        checks=(Check(bad, False, bad),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def panel():
    said = {"clean": Prediction(HOSTILE[0], 0.98, True), "attacked": Prediction("dog", 0.99, False)}
    file = io.BytesIO()
    Image.new("L", (2, 2)).save(file, "PNG")
    pixel = base64.b64encode(file.getvalue()).decode()
    images = dict.fromkeys(("clean", "attacked", "perturbation"), pixel) | {"purified": HOSTILE[3]}
    return Panel(defense=HOSTILE[0], label=HOSTILE[1], images=images, predictions=said)


@pytest.fixture(scope="module")
def reports(real, hostile, panel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "new folder"
    write_report(real, folder / "real.html")
    write_report(hostile, folder / "hostile.html", [panel])
    assert sorted(path.name for path in folder.iterdir()) == ["hostile.html", "real.html"]
    return folder


def test_a_report_has_its_parts_in_order_and_every_row(real, reports):
    html = (reports / "real.html").read_text(encoding="utf-8")
    page = Page(html)
    order = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    wanted = ["summary", "checks", "figures", "corruptions", "detection", "method", "rows"]
    assert order == [part for part in wanted if part in order]
    assert {"summary", "checks", "figures", "detection", "method", "rows"} <= set(order)
    rows = html[html.index('id="rows"') : html.index('id="themes"')]
    assert rows.count("<tr>") == 1 + len(real.results)
    assert page.text.count("not measured") < 10
    for text in (real.data.fingerprint, real.versions["torch"], "BIM L∞", "the smallest"):
        assert text in page.text
    changes = [
        100 * abs(row.accuracy - row.unrounded_accuracy)
        for row in real.results
        if row.unrounded_accuracy is not None
    ]
    assert f"by at most {max(changes):.1f} points" in page.text


def test_violated_checks_come_first_and_unknown_ones_are_stated(tiny):
    row = ("none", "clean", None, None, "1101")
    checks = (Check("fine", True, ""), Check("open", None, "one step"), Check("odd", False, "12 %"))
    html = render_report(tiny(row, checks=checks))
    alarm = html.index('class="alarm"')
    assert alarm < html.index("12 %") < html.index('class="unsure"')
    assert html.index("one step") < html.index('class="check passed"')
    assert "1 sanity check violated" in Page(html).text[:600]
    assert "No sanity checks were made" in render_report(tiny(row))


def test_without_figures_there_is_no_script(tiny):
    assert Page(render_report(tiny(("none", "clean", None, None, "1101")))).count("script") == 0


def test_texts_of_a_record_stay_texts(reports):
    page = Page((reports / "hostile.html").read_text(encoding="utf-8"))
    drawings = sum("drawing" in attributes.get("class", "") for _, attributes in page.tags)
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    # Of each chart its description, then the themes, and at last the one that is run.
    assert [a.get("type") for a in scripts] == ["application/json"] * (drawings + 1) + [None]
    for text in HOSTILE[:8]:
        assert " ".join(text.split()) in page.text
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "base", "form", "video", "audio")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                assert value.startswith(("data:", "#")), (tag, name, value)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy


def test_a_report_that_cannot_be_written_is_one_line(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_report(tiny(("none", "clean", None, None, "1101")), tmp_path / "file" / "report.html")


def test_nothing_of_a_hostile_record_runs_and_nothing_is_requested(browser, reports, hostile):
    browser.open(reports / "hostile.html")
    assert browser.run("document.querySelectorAll('.drawn .vega-embed svg').length") == 5
    assert browser.run("window.owned ?? null") is None
    assert browser.run("document.title") == hostile.title
    assert browser.run("document.querySelectorAll('[onerror], [src=x]').length") == 0
    asked = {event["request"]["url"] for event in browser.seen("Network.requestWillBeSent")}
    assert {url for url in asked if not url.startswith("data:")} == {
        (reports / "hostile.html").as_uri()
    }
    assert not browser.seen("Runtime.exceptionThrown")
    # A picture that is none cannot be shown; the page's policy had nothing to forbid.
    assert {event["entry"]["source"] for event in browser.seen("Log.entryAdded")} <= {"network"}
    drawn = browser.run("document.querySelector('.drawn .vega-embed').textContent")
    assert HOSTILE[0][:12] in drawn


def test_the_pointer_shows_figures(browser, reports, real):
    browser.open(reports / "real.html")
    browser.point_at(
        "[...document.querySelector('.drawn .vega-embed .mark-symbol').children].find("
        "point => point.__data__.datum.series == 'none' && point.__data__.datum.eps == '8/255')"
    )
    shown = browser.run("document.querySelector('#vg-tooltip-element').innerText")
    share = worst_case(real.rows(defense="none", threat="oblivious", norm="Linf", eps=8))
    assert "none" in shown
    assert f"{percent(share.accuracy)} (" in shown
    assert str(share.images) in shown


def test_a_click_in_the_legend_makes_the_other_defences_pale(browser, reports, real):
    browser.open(reports / "real.html")
    opacity = (
        "[...document.querySelector('.drawn .vega-embed').querySelectorAll('.mark-line path')]"
        ".map(line => line.getAttribute('opacity'))"
    )
    count = 3 * len(real.defense_names)
    assert browser.run(opacity) == ["1"] * count
    name = "document.querySelectorAll('.vega-embed .role-legend-label text')[1]"
    browser.point_at(name, click=True)
    # In each of the panels: oblivious, adaptive, query.
    assert [place for place, value in enumerate(browser.run(opacity)) if value == "1"] == [
        1 + panel * len(real.defense_names) for panel in range(3)
    ]


def test_pages_fit_a_phone(browser, reports):
    browser.open(reports / "hostile.html", width=390)
    assert browser.run("document.documentElement.scrollWidth - innerWidth") <= 0
    # All charts but the map of classes, which scrolls in its box.
    wide = browser.run(
        "[...document.querySelectorAll('.drawing')].map(box => box.scrollWidth > box.clientWidth)"
    )
    assert wide == [False, False, True, False, False]


def test_without_scripts_there_are_pictures(browser, reports):
    browser.open(reports / "real.html", scripts=False)
    heights = "[...document.querySelectorAll('.picture svg')].map(svg => svg.clientHeight)"
    assert min(browser.run(heights)) > 200
    assert browser.run("document.querySelectorAll('.vega-embed').length") == 0
