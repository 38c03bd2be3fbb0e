import base64
import copy
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from comdefend.errors import OutputError
from comdefend.evaluation import figures
from comdefend.evaluation.record import wilson_interval
from comdefend.report.html import render_report, write_report
from comdefend.report.summary import (
    adaptive_note,
    headline,
    markdown_table,
    percent,
    summarize,
)

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
HOSTILE = "<script>document.title='owned'</script>"
# How much stronger an attack is than FGSM, and for oblivious ones, how much a defence undoes.
STRENGTH = {"fgsm": 1.0, "bim": 1.6, "pgd": 1.8, "square": 0.9, "deepfool": 2.0, "cw": 2.4}
UNDONE = (0.0, 0.3, 0.55, 0.45, 0.2, 0.5, 0.35, 0.6, 0.25, 0.4, 0.15, 0.65)


def sample_record(
    defenses=("none", "rgb-12bpp", "rgb-2bpp", "jpeg-25"), eps=(2, 4, 8), images=300, adaptive=True
):
    """A record of made-up defences, of which each image stands up to a strength of its own."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, images)
    margins = rng.gamma(2.0, 1.6, images) * (0.7 + 0.06 * labels)
    rows = []

    def measure(defense, threat, attack, norm, bound, steps, correct, **more):
        hits = int(correct.sum())
        row = {
            "defense": defense, "threat": threat, "attack": attack, "norm": norm, "eps": bound,
            "steps": steps, "detail": "", "images": len(correct), "accuracy": hits / len(correct),
            "interval": list(wilson_interval(hits, len(correct))), "unrounded_accuracy": None,
            "perturbation_psnr": None, "correct": "".join("01"[int(c)] for c in correct),
            "seconds": round(0.01 * len(correct) * (steps or 1), 1),
        }  # fmt: skip
        rows.append({**row, **more})

    for place, name in enumerate(defenses):
        undone = UNDONE[place]
        right = rng.random(images) > 0.06 + 0.1 * undone
        measure(name, "clean", None, None, None, None, right)
        for attack in ("fgsm", "bim", "pgd"):
            for bound in eps:
                force = STRENGTH[attack] * bound * 0.6 * (1 - undone)
                measure(
                    name, "oblivious", attack, "Linf", bound, None if attack == "fgsm" else 20,
                    right & (margins > force), perturbation_psnr=46.0 - 6.02 * np.log2(bound),
                    unrounded_accuracy=float((right & (margins > force * 1.02)).mean()),
                )  # fmt: skip
        for attack in ("deepfool", "cw"):
            found = right & (rng.random(images) < 0.05 + 1.2 * undone / STRENGTH[attack])
            measure(name, "oblivious", attack, "L2", None, 50, found, perturbation_psnr=41.7)
        if adaptive:
            for bound in eps:
                measure(
                    name, "adaptive", "pgd", "Linf", bound, 40, right & (margins > 1.6 * bound),
                    detail="for each image the worst of identity, sigmoid-10 and noisy",
                )  # fmt: skip
        bound = eps[-1]
        measure(
            name, "query", "square", "Linf", bound, 5000,
            (right & (margins > 0.8 * bound))[: images // 3],
        )  # fmt: skip

    flagged = np.linspace(0, 1, 21)
    return {
        "format": 1, "name": "cifar10-small", "title": "CIFAR-10, small ResNet, test time",
        "data": {
            "source": "cifar10", "split": "test", "images": images, "seed": 0,
            "fingerprint": "9f" * 32, "classes": CLASSES,
        },
        "classifier": "cifar10-small", "seed": 0, "device": "cpu", "commit": "abc123",
        "versions": {"comdefend": "0.1.0", "torch": "2.15.0"}, "seconds": 812.3,
        "labels": labels.tolist(), "rows": rows,
        "defenses": [
            {
                "name": name, "random": place == 3, "psnr": None if place == 0 else 32.8,
                "bpp": 12.0 if name == "rgb-12bpp" else None,
                "detection": None if place == 0 else {
                    "attack": "pgd", "eps": eps[-1], "auroc": 0.6 + 0.3 * UNDONE[place],
                    "false_positive_rate": 0.05, "false_positives": 0.07, "threshold": 0.31,
                    "detected": float(0.05 ** (1 - UNDONE[place])), "fpr": flagged.tolist(),
                    "tpr": (flagged ** (1 - UNDONE[place])).tolist(),
                },
            }
            for place, name in enumerate(defenses)
        ],
        "checks": [
            {"name": "clean accuracy is better than guessing", "passed": True, "detail": "90.1 %"},
            {"name": "more steps never help the defence", "passed": None, "detail": "FGSM has one"},
            {"name": "adaptive is never weaker than oblivious", "passed": True, "detail": ""},
        ],
    }  # fmt: skip


def with_panels(record):
    pixels = np.random.default_rng(1).integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)
    images = {}
    for name, image in zip(("clean", "attacked", "perturbation", "purified"), pixels, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        images[name] = base64.b64encode(buffer.getvalue()).decode()
    predictions = {
        "clean": ["cat", 0.98, True],
        "attacked": ["dog", 0.99, False],
        "purified": ["cat", 0.7, True],
    }
    panel = {"label": "cat", "defense": "rgb-12bpp", "images": images, "predictions": predictions}
    return {**record, "panels": [panel]}


@pytest.fixture(scope="module")
def record():
    return sample_record()


class Page(HTMLParser):
    """Tags with their attributes, and all visible text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.inside = [], [], []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("style", "title", "script"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data):
        if not self.inside:
            self.words.append(data)

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def tiny_record(*rows):
    """Rows given as (defense, threat, attack, eps, correct)."""
    full = []
    for defense, threat, attack, eps, correct in rows:
        hits = correct.count("1")
        full.append(
            {
                "defense": defense, "threat": threat, "attack": attack, "eps": eps,
                "norm": None if attack is None else "Linf", "steps": None, "detail": "",
                "images": len(correct), "accuracy": hits / len(correct),
                "interval": list(wilson_interval(hits, len(correct))), "correct": correct,
            }
        )  # fmt: skip
    return {"name": "tiny", "data": {"images": len(rows[0][-1])}, "rows": full}


def test_adaptive_figure_is_the_worst_image_by_image_of_all_adaptive_attacks_in_the_bound():
    record = tiny_record(
        ("shield", "clean", None, None, "11111110"),
        ("shield", "oblivious", "fgsm", 8, "11111100"),
        ("shield", "adaptive", "pgd", 8, "11000000"),
        # Made on the first four images alone.
        ("shield", "adaptive", "autoattack", 8, "1010"),
        ("shield", "adaptive", "pgd", 16, "00000000"),
    )
    summary = summarize(record)
    assert [column.label for column in summary.columns] == ["FGSM L∞ 8/255", "any attack L∞ 16/255"]
    (line,) = summary.lines
    assert line.clean.accuracy == 7 / 8
    oblivious, adaptive = line.cells[0]
    assert (oblivious.accuracy, oblivious.images) == (6 / 8, 8)
    assert (adaptive.accuracy, adaptive.images) == (1 / 4, 4)
    assert line.cells[1][0] is None
    assert line.cells[1][1].accuracy == 0


def test_without_a_defence_every_attack_on_the_classifier_is_adaptive():
    record = tiny_record(
        ("none", "oblivious", "fgsm", 8, "1110"), ("none", "oblivious", "pgd", 8, "0111")
    )
    for cell, alone in zip(summarize(record).lines[0].cells, (0.75, 0.75), strict=True):
        assert [share.accuracy for share in cell] == [alone, 0.5]


def test_the_note_says_what_adaptive_figures_stand_for_and_on_which_images():
    rows = [("a", "clean", None, None, "1111"), ("a", "oblivious", "fgsm", 8, "1100")]
    assert adaptive_note(tiny_record(*rows)) == ""
    record = tiny_record(*rows, ("a", "adaptive", "pgd", 8, "11"))
    assert "(PGD) and those by query included" in adaptive_note(record)
    assert "higher in no cell" in adaptive_note(record)
    assert "smallest found" not in adaptive_note(record)
    unbounded = [("a", "oblivious", "cw", None, "0111"), ("a", "adaptive", "cw", None, "10")]
    note = adaptive_note(tiny_record(*rows, ("a", "adaptive", "pgd", 8, "1100"), *unbounded))
    assert "(PGD) and those by query included" in note
    assert "through the pipeline (C&W)." in note
    # One of two either way: not higher.
    assert "higher in no cell" in note
    odd = tiny_record(("a", "oblivious", "fgsm", 8, "0011"), ("a", "adaptive", "pgd", 8, "11"))
    assert "higher in 1 of the cells" in adaptive_note(odd)


def test_no_oblivious_or_transfer_figure_is_without_its_adaptive_one(record):
    transfer = {**record["rows"][1], "threat": "transfer", "detail": "made on another"}
    for one in (record, sample_record(adaptive=False), {**record, "rows": [transfer]}):
        tables = markdown_table(one).split("\n\n")
        lines = [line for table in tables for line in table.splitlines()[2:]]
        for line in lines:
            for cell in line.split("|")[3:-1]:
                figure = r"(?:[<>\d. %]+(?: \(\d+\))?|not measured)"
                assert re.fullmatch(rf" {figure} / {figure} | [\d. %]+(?:\(\d+\) )?", cell), cell
    lone = markdown_table(sample_record(adaptive=False))
    assert len(re.findall(r"% / not measured", lone)) == 3 * 11
    assert re.search(r"\| 31 % / 1 % \|", markdown_table(record))
    assert re.search(
        r"\| FGSM L∞: oblivious / adaptive \| clean \|.* 8/255 \|", markdown_table(record)
    )


def test_markdown_escapes_names():
    record = tiny_record(("a|b `c`\n*d", "clean", None, None, "11"))
    assert markdown_table(record).splitlines()[2] == r"| a\|b \`c\` \*d | 100.0 % |"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100 %"), (0.004, "0.4 %"), (0.0001, "< 0.1 %"), (0.997, "99.7 %"),
     (0.9999, "> 99.9 %"), (0.314, "31 %")],
)  # fmt: skip
def test_percent_rounds_nothing_to_none_or_all(share, text):
    assert percent(share) == text


def test_headline_names_cost_gain_and_the_adaptive_figure():
    rows = [
        ("none", "clean", None, None, "1111111110"),
        ("none", "oblivious", "fgsm", 8, "1110000000"),
        ("none", "oblivious", "pgd", 8, "1000000000"),
        ("none", "oblivious", "pgd", 16, "0000000000"),
        ("shield", "clean", None, None, "1111111100"),
        ("shield", "oblivious", "fgsm", 8, "1111111000"),
        ("shield", "oblivious", "pgd", 8, "1111000000"),
        ("shield", "oblivious", "pgd", 16, "1000000000"),
    ]
    start = (
        "With shield as the defence, clean accuracy goes from 90.0 % to 80.0 %; under "
        "PGD L∞ 8/255 it goes from 10 % to 40 % if the attacker does not know of the defence, and "
    )
    adaptive = ("shield", "adaptive", "autoattack", 8, "0000000000")
    assert headline(summarize(tiny_record(*rows, adaptive))) == (
        start + "is 0 % if the attacker does."
    )
    assert headline(summarize(tiny_record(*rows))) == (
        start + "was not measured if the attacker does."
    )
    assert "no attack" in headline(summarize(tiny_record(rows[0], rows[4])))
    assert "No defence" in headline(summarize(tiny_record(*rows[:3])))


def figures_of(record):
    return [
        figures.accuracy_against_eps(record, "Linf"),
        figures.accuracy_against_eps(record, "Linf", "pgd"),
        figures.accuracy_without_eps(record),
        figures.class_changes(record),
        figures.reconstruction(record),
        figures.detection_roc(record),
    ]


@pytest.mark.parametrize("count", [2, 12])
def test_figures_of_few_and_many_defences_are_svg_with_every_name(count):
    names = ("none", *(f"defence number {i}" for i in range(1, count)))
    record = sample_record(names, eps=(8,) if count == 2 else (1, 2, 4, 8, 16), images=60)
    for svg in figures_of(record):
        assert svg.startswith("<svg")
        for name in names[1:]:
            assert f">{name}" in svg
        assert "metadata" not in svg
        assert svg.count(' id="') == len(set(re.findall(r' id="([^"]*)"', svg)))


def test_figures_are_equal_for_equal_records_and_leave_matplotlib_as_it_was():
    import matplotlib

    record = sample_record(("none", "rgb-12bpp"), eps=(8,), images=20)
    before = dict(matplotlib.rcParams)
    assert figures_of(record) == figures_of(copy.deepcopy(record))
    assert dict(matplotlib.rcParams) == before


def test_nothing_to_show_gives_no_figure():
    bare = tiny_record(("none", "clean", None, None, "1101"))
    assert figures_of(bare) == [None] * 6
    assert "<svg" not in render_report(bare)


def test_adaptive_panel_is_there_even_if_it_is_empty():
    rows = [("shield", "clean", None, None, "111"), ("shield", "oblivious", "pgd", 8, "110")]
    svg = figures.accuracy_against_eps(tiny_record(*rows), "Linf")
    assert ">Adaptive</text>" in svg
    assert ">not measured</text>" in svg


def test_class_counts_are_those_of_the_images_attacked():
    record = tiny_record(
        ("none", "clean", None, None, "111111"),
        ("none", "oblivious", "fgsm", 8, "110100"),
        ("none", "adaptive", "pgd", 8, "1000"),
        ("shield", "clean", None, None, "111101"),
        ("shield", "oblivious", "fgsm", 8, "110100"),
        ("shield", "adaptive", "pgd", 8, "1000"),
        ("sieve", "clean", None, None, "111101"),
        ("sieve", "oblivious", "fgsm", 8, "110100"),
        ("sieve", "adaptive", "pgd", 8, "100"),
    )
    record |= {"labels": [0, 0, 0, 1, 1, 1]}
    record["data"]["classes"] = ["cat", "dog"]
    svg = figures.class_changes(record)
    # Clean and oblivious share their labels; the adaptive attacks are on fewer images, and one
    # of them on none of the dogs.
    for label in ("cat (3)", "dog (3)", "dog (0–1)"):
        assert f">{label}<" in svg
    assert svg.count(">cat (3)<") == 2


def test_reconstruction_stands_beside_the_size_of_perturbations():
    record = sample_record(eps=(2, 4, 8))
    record["defenses"][2]["psnr"] = 79.0
    svg = figures.reconstruction(record)
    for text in ("32.8", "79.0 →", "2/255", "8/255", "dashed: PSNR of the perturbations by FGSM"):
        assert f">{text}<" in svg
    # Neither a bound in between nor one that was not measured.
    assert ">4/255<" not in svg
    assert ">16/255<" not in svg
    for row in record["rows"]:
        row["perturbation_psnr"] = None
    assert "dashed" not in figures.reconstruction(record)


def test_report_has_its_parts_in_order_and_every_row(record):
    html = render_report(with_panels(record))
    page = Page(html)
    order = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert order == ["summary", "checks", "figures", "panels", "detection", "rows", "method"]
    assert page.count("svg") == 5
    assert page.count("img") == 4
    every = html[html.index('id="rows"') : html.index('id="method"')]
    assert every.count("<tr>") == 1 + len(record["rows"])
    for text in ("✓ cat 98 %", "✗ dog 99 %", "9f9f", "torch 2.15.0", "abc123", "812 s"):
        assert text in page.text
    # The largest of all |accuracy - unrounded accuracy|.
    points = max(
        100 * abs(row["accuracy"] - row["unrounded_accuracy"])
        for row in record["rows"]
        if row["unrounded_accuracy"] is not None
    )
    assert f"by at most {points:.1f} points" in page.text


def test_violated_checks_come_first_and_unknown_ones_are_stated(record):
    record = copy.deepcopy(record)
    record["checks"][2].update(passed=False, detail="oblivious 12 %, adaptive 14 %")
    html = render_report(record)
    alarm = html.index('class="alarm"')
    assert alarm < html.index('class="unsure"') < html.index('class="check passed"')
    assert alarm < html.index("oblivious 12 %, adaptive 14 %") < html.index('class="unsure"')
    assert "1 sanity check violated" in Page(html).text[:600]
    assert 'class="alarm"' not in render_report(sample_record(images=20))
    assert "No sanity check was made" in render_report({**record, "checks": []})


def hostile_record():
    """Every text that a user can choose tries to be markup."""
    record = with_panels(sample_record(("none", HOSTILE, "$\\frac{$", "_x"), images=60))
    record["data"]["classes"] = [HOSTILE, *CLASSES[1:]]
    for part, keys in (
        (record, ("title", "classifier", "device", "commit")),
        (record["data"], ("source", "fingerprint")),
        (record["rows"][1], ("detail",)),
        (record["checks"][0], ("name", "detail")),
        (record["panels"][0], ("label", "defense")),
    ):
        part.update(dict.fromkeys(keys, HOSTILE))
    record["rows"][2]["attack"] = HOSTILE
    record["versions"] = {HOSTILE: HOSTILE}
    record["panels"][0]["images"]["clean"] += '"><script>document.title="owned"</script>'
    record["panels"][0]["predictions"]["clean"][0] = HOSTILE
    return record


def test_texts_of_a_record_stay_texts_and_nothing_comes_from_elsewhere(tmp_path):
    record = json.loads(json.dumps(hostile_record()))
    write_report(record, tmp_path / "new folder" / "report.html")
    html = (tmp_path / "new folder" / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.count("script") == 0
    assert page.text.count(HOSTILE) > 20
    # The heat map's class, shortened.
    assert HOSTILE[:25] + "… (" in page.text
    assert "$\\frac{$" in page.text
    assert "_x" in page.text
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "base", "form", "video", "audio")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                assert value.startswith(("data:", "#")), (tag, name, value)
    assert not re.search(r"url\((?!#)|@import", html)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["report.html"]


def test_report_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_report(
            tiny_record(("none", "clean", None, None, "1101")), tmp_path / "file" / "report.html"
        )


def chromium(folder, *arguments):
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    off = ("gpu", "quic", "extensions", "background-networking", "component-update", "sync")
    switches = ["--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars"]
    switches += [f"--disable-{part}" for part in off]
    command = [program, *switches, f"--user-data-dir={folder}", *arguments]
    return subprocess.run(command, capture_output=True, timeout=500, check=True).stdout.decode()


def test_browser_shows_the_report_and_runs_nothing_in_it(tmp_path):
    write_report(hostile_record(), tmp_path / "report.html")
    address = (tmp_path / "report.html").as_uri()
    picture = tmp_path / "report.png"
    dom = chromium(
        tmp_path / "profile", "--window-size=1280,2400", "--dump-dom", f"--screenshot={picture}",
        address,
    )  # fmt: skip
    page = Page(dom)
    assert re.search(r"<title>([^<]*)</title>", dom)[1] != "owned"
    assert page.count("script") == 0
    assert page.count("svg") == 5
    assert page.count("table") == 3
    assert HOSTILE in page.text
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape == (2400, 1280, 3)
    # Blue of the first defence's line and bars: the figures are drawn, not only in the DOM.
    assert (np.abs(pixels.astype(int) - (0, 0x72, 0xB2)).max(2) < 12).sum() > 100


def test_page_is_not_wider_than_a_phone(tmp_path):
    html = render_report(hostile_record())
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    probe = (
        "<script>document.body.dataset.wide = "
        "document.documentElement.scrollWidth - window.innerWidth</script></body>"
    )
    (tmp_path / "report.html").write_text(html.replace("</body>", probe), encoding="utf-8")
    address = (tmp_path / "report.html").as_uri()
    dom = chromium(tmp_path / "profile", "--window-size=390,800", "--dump-dom", address)
    assert int(re.search(r'data-wide="(-?\d+)"', dom)[1]) <= 0
