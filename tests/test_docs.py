import json
import re
from pathlib import Path

import msgspec
import pytest
import torch

from comdefend.evaluation.loading import load_experiment
from comdefend.nn.classifier import ClassifierConfig, SmallClassifier
from comdefend.report.markdown import adaptive_note
from tools.docs.blocks import blocks, extras
from tools.docs.blocks import pages as pages_with_code
from tools.docs.markdown import rewrap
from tools.docs.pages import pages, reports, stale
from tools.docs.records import RECORDS, evaluation
from tools.docs.tables.comparisons import holm
from tools.docs.tables.recipes import RECIPES, title

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def test_documents_are_fresh():
    assert stale() == [], "run: python -m tools.docs"


def test_reports_hold_no_images_of_other_peoples_data():
    assert reports()
    assert not any("data:image" in report for report in reports().values())


def test_no_adaptive_figure_is_the_higher_one_on_the_same_images():
    """As docs/tables/README.md says of all tables."""
    for path in (*RECORDS.glob("*-small.json"), *RECORDS.glob("*-gpu.json")):
        note = adaptive_note(evaluation(path.stem.rpartition("-")[0]))
        assert "of the cells" not in note, path


def test_no_two_paragraphs_of_a_page_say_the_same():
    for path, text in pages().items():
        prose = [p for p in text.split("\n\n") if len(p) > 120 and not p.startswith(("|", "```"))]
        assert len(prose) == len(set(prose)), path


def test_rewrapping_moves_words_and_nothing_else():
    text = (
        "# A title that is longer than the width\n\nSome prose that\nis put `in a place` anew.\n"
        "- an item that takes two lines\n- another\n\n| a table | that | stays |\n"
        "```\ncode   stays as it is, however long\n```\n"
    )
    wrapped = rewrap(text, 24)
    assert wrapped.split() == text.split()
    assert "`in a place`" in wrapped
    assert "\ncode   stays as it is, however long\n" in wrapped
    assert "takes two\n  lines\n- another\n" in wrapped


def test_holm_keeps_as_many_small_p_values_as_their_number_allows():
    # 0.01 <= 0.05 / 3, 0.02 <= 0.05 / 2, and 0.06 is beyond 0.05.
    assert holm([0.06, 0.01, 0.02]) == 0.02
    assert holm([0.03, 0.03]) < 0


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__name__)
def test_every_field_of_every_kind_of_recipe_is_explained(recipe):
    text = (ROOT / "docs/tables/recipes.md").read_text()
    section = text.partition(f"## {title(recipe)}\n")[2].partition("\n## ")[0]
    for field in msgspec.structs.fields(recipe):
        (row,) = re.findall(rf"^\| `{field.name}` \|.*$", section, re.MULTILINE)
        assert re.fullmatch(r"\| `\w+` \| .+ \| (required|`.+`) \| \S.+\. \|", row), row


def _as_shipped(recorded, shipped):
    """Whether what was recorded is what ships, apart from fields that came later or went."""
    if isinstance(recorded, dict) and isinstance(shipped, dict):
        return all(_as_shipped(v, shipped[k]) for k, v in recorded.items() if k in shipped)
    if isinstance(recorded, list) and isinstance(shipped, list):
        return len(recorded) == len(shipped) and all(map(_as_shipped, recorded, shipped))
    return recorded == shipped


@pytest.mark.parametrize(
    "record",
    sorted(path for profile in ("small", "gpu") for path in RECORDS.glob(f"*-{profile}.json")),
    ids=lambda path: path.stem,
)
def test_records_are_of_the_experiments_that_ship(record):
    recorded = json.loads(record.read_text())["experiment"]
    name, _, profile = record.stem.rpartition("-")
    shipped = load_experiment(name, profile).to_dict()
    # How a row was trained is told by recipes, whose fields have moved since.
    for plan in (recorded, *recorded["defenses"]):
        for field in [key for key in plan if key.startswith("train_")]:
            del plan[field]
    # Tuples are lists in JSON.
    assert _as_shipped(recorded, json.loads(json.dumps(shipped)))


def _anchors(document):
    """The places that a link can name, as GitHub and others make them of headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in words}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = document.parent / path if path else document
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), target


def test_the_readme_snippet_runs():
    snippet = next(block for block in blocks(ROOT / "README.md") if block.language == "python")
    names = {
        "classifier": SmallClassifier(ClassifierConfig(classes=10)).eval(),
        "images": torch.rand(2, 3, 32, 32),
    }
    exec(snippet.text, names)
    assert names["logits"].shape == (2, 10)


def test_all_code_of_the_documents_is_run_by_an_install_or_says_why_not():
    """The slow tests of the installs run it."""
    found = [block for page in pages_with_code() for block in blocks(page)]
    assert {block.needs for block in found} == set(extras())
    assert sum(not block.skipped for block in found) > 15
    for block in found:
        commands = block.text.replace("\\\n", " ").splitlines()
        if not block.language and not block.skipped:
            assert all(command.startswith("comdefend ") for command in commands), commands


def test_the_locks_hold_names_versions_and_hashes_and_nothing_else():
    pin = re.compile(r"[a-z0-9][a-z0-9._-]*==\S+( ; [^\\]+)? \\")
    digest = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    for name in ("uv.txt", "dev.txt"):
        lines = (ROOT / "requirements" / name).read_text().splitlines()
        assert lines
        for line, after in zip(lines, [*lines[1:], ""], strict=True):
            assert pin.fullmatch(line) or digest.fullmatch(line), line
            if pin.fullmatch(line):
                assert digest.fullmatch(after), f"{line} has no hash"
