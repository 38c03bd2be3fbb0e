import re

import msgspec
import pytest

from comdefend.report.markdown import adaptive_note, markdown_table
from comdefend.report.notebook import summary_html, summary_text
from comdefend.report.summary import by_bound, headline, percent, summarize


def test_adaptive_figure_is_the_worst_image_by_image_of_all_adaptive_attacks_in_the_bound(tiny):
    record = tiny(
        ("shield", "clean", None, None, "11111110"),
        ("shield", "oblivious", "fgsm", 8, "11111100"),
        ("shield", "adaptive", "pgd", 8, "11000000"),
        # Made on the first four images alone.
        ("shield", "adaptive", "autoattack", 8, "1010"),
        ("shield", "adaptive", "pgd", 16, "00000000"),
    )
    summary = summarize(record)
    wanted = ["FGSM L∞ 8/255", "all attacks L∞ 16/255"]
    assert [column.label for column in summary.columns] == wanted
    (line,) = summary.lines
    assert line.clean.accuracy == 7 / 8
    oblivious, adaptive = line.cells[0]
    assert (oblivious.accuracy, oblivious.images) == (6 / 8, 8)
    assert (adaptive.accuracy, adaptive.images) == (1 / 4, 4)
    assert line.cells[1][0] is None
    assert line.cells[1][1].accuracy == 0


def test_without_a_defence_every_attack_on_the_classifier_is_adaptive(tiny):
    record = tiny(("none", "oblivious", "fgsm", 8, "1110"), ("none", "oblivious", "pgd", 8, "0111"))
    for cell in summarize(record).lines[0].cells:
        assert [share.accuracy for share in cell] == [0.75, 0.5]


def test_by_bound_all_attacks_count_together_and_none_made_elsewhere(tiny):
    record = tiny(
        ("shield", "oblivious", "pgd", 8, "0111"),
        ("shield", "oblivious", "fgsm", 8, "1110"),
        ("shield", "oblivious", "fgsm", 2, "1111"),
        ("shield", "transfer", "fgsm", 8, "0000"),
        ("shield", "query", "square", 8, "1100"),
        ("shield", "adaptive", "pgd", 8, "1000"),
        ("shield", "oblivious", "cw", None, "1010"),
    )
    summary = summarize(record, by_bound(record))
    figures = {
        (column.threat, column.bound): [share and share.accuracy for share in cell]
        for column, cell in zip(summary.columns, summary.lines[0].cells, strict=True)
    }
    assert figures == {
        ("oblivious", "2/255"): [1, None],
        ("oblivious", "8/255"): [0.5, 0.25],
        ("query", "8/255"): [0.5],
        ("oblivious", "smallest found"): [0.5, None],
    }


def test_an_attack_made_in_several_ways_has_a_column_for_each(tiny):
    rows = [("none", "oblivious", "bim", 8, verdicts) for verdicts in ("1110", "1000")]
    record = tiny(*rows, ("none", "oblivious", "fgsm", 8, "1111"))
    few, many, fgsm = record.results
    few, many = (msgspec.structs.replace(r, steps=n) for r, n in ((few, 1), (many, 5)))
    record = msgspec.structs.replace(record, results=(few, many, fgsm))
    summary = summarize(record)
    wanted = ["BIM (1 step) L∞ 8/255", "BIM (5 steps) L∞ 8/255", "FGSM L∞ 8/255"]
    assert [column.label for column in summary.columns] == wanted
    assert [cell[0].accuracy for cell in summary.lines[0].cells] == [0.75, 0.25, 1]
    assert [column.label for column in by_bound(record)] == ["all attacks L∞ 8/255"]


def test_the_note_says_what_adaptive_figures_stand_for_and_on_which_images(tiny):
    rows = [("a", "clean", None, None, "1111"), ("a", "oblivious", "fgsm", 8, "1100")]
    assert adaptive_note(tiny(*rows)) == ""
    note = adaptive_note(tiny(*rows, ("a", "adaptive", "pgd", 8, "11")))
    assert "PGD" in note
    # One of two either way: not higher.
    assert "higher in no cell" in note
    assert "smallest" not in note
    unbounded = [("a", "oblivious", "cw", None, "0111"), ("a", "adaptive", "cw", None, "10")]
    note = adaptive_note(tiny(*rows, ("a", "adaptive", "pgd", 8, "1100"), *unbounded))
    assert "smallest" in note
    assert "C&W" in note
    odd = tiny(("a", "oblivious", "fgsm", 8, "0011"), ("a", "adaptive", "pgd", 8, "11"))
    assert "higher in 1 of the cells" in adaptive_note(odd)


def test_no_oblivious_or_transfer_figure_is_without_its_adaptive_one(tiny, real):
    alone = tiny(("a", "oblivious", "fgsm", 8, "1100"), ("b", "transfer", "pgd", 8, "1000"))
    for record in (alone, real):
        tables = markdown_table(record).split("\n\n")
        lines = [line for table in tables for line in table.splitlines()]
        for line in (line for line in lines if line.startswith("| ")):
            if line.startswith("| no attack"):
                break
            if "%" in line:
                one = r"(?:[<>\d. %]+(?: \(\d+\))?|not measured)"
                for cell in line.split("|")[3:-1]:
                    assert re.fullmatch(rf" {one} / {one} | [\d. %]+(?:\(\d+\) )?", cell), cell
    assert markdown_table(alone).count("% / not measured") == 2
    assert "| FGSM L∞: oblivious / adaptive | clean | 2/255 |" in markdown_table(real)


def test_markdown_escapes_names(tiny):
    record = tiny(("a|b `c`\n*d", "clean", None, None, "11"))
    assert markdown_table(record).splitlines()[2] == r"| a\|b \`c\` \*d | 100.0 % |"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100 %"), (0.004, "0.4 %"), (0.0001, "< 0.1 %"), (0.997, "99.7 %"),
     (0.9999, "> 99.9 %"), (0.314, "31 %")],
)  # fmt: skip
def test_percent_rounds_nothing_to_none_or_all(share, text):
    assert percent(share) == text


def test_headline_names_cost_gain_and_the_adaptive_figure(tiny):
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
        "PGD L∞ 8/255 it goes from 10 % to 40 % if the attacker does not know about the defence, "
        "and "
    )
    adaptive = ("shield", "adaptive", "autoattack", 8, "0000000000")
    full = headline(summarize(tiny(*rows, adaptive)))
    assert full == start + "is 0 % if the attacker does."
    missing = headline(summarize(tiny(*rows)))
    assert missing == start + "was not measured if the attacker does."
    assert "no attack" in headline(summarize(tiny(rows[0], rows[4])))
    assert "No defence" in headline(summarize(tiny(*rows[:3])))


def test_a_terminal_of_80_columns_shows_every_figure(real, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = summary_text(real)
    assert max(map(len, text.splitlines())) <= 80
    (row,) = re.findall(r"^ *rgb-12bpp +(.*?) *$", text, re.MULTILINE)
    assert re.split(r" {2,}", row) == [
        "88", "53 / 18", "18 / 6", "7 / 0", "40", "82 / 20", "80 / 0",
    ]  # fmt: skip
    assert "Some are on fewer images, from 5." in " ".join(text.split())


def test_a_notebook_shows_the_same_and_no_markup_of_the_record(tiny, real, monkeypatch):
    html = summary_html(real)
    assert html.count("<tr>") == 2 + len(real.defense_names)
    assert '<span class="plain">53 %</span>' in html
    assert '<span class="knowing">18 %</span>' in html
    bad = "<script>1</script>[bold]x"
    record = tiny((bad, "clean", None, None, "11"), classifier=bad)
    assert "<script" not in summary_html(record)
    monkeypatch.setenv("COLUMNS", "120")
    assert summary_text(record).count(bad) >= 2
