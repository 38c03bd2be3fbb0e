import json
import re
import sys
from pathlib import Path

import pytest

from comdefend.evaluation.experiment import load_experiment

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import ladder_figure  # noqa: E402
import noise_figure  # noqa: E402
import update_docs  # noqa: E402


@pytest.mark.parametrize("document", update_docs.DOCUMENTS)
def test_tables_are_those_of_the_records(document):
    text = (ROOT / document).read_text()
    assert "<!-- table:" in text
    assert text == update_docs.filled(text), "run: python tools/update_docs.py"


def test_holm_keeps_as_many_small_p_values_as_their_number_allows():
    # 0.01 <= 0.05 / 3, 0.02 <= 0.05 / 2, and 0.06 is beyond 0.05.
    assert update_docs._holm([0.06, 0.01, 0.02]) == 0.02
    assert update_docs._holm([0.03, 0.03]) < 0


@pytest.mark.parametrize("name", update_docs.REPORTS)
def test_reports_are_those_of_the_records(name):
    report = (ROOT / f"docs/reports/{name}.html").read_text()
    assert report == update_docs.report_of(name), "run: python tools/update_docs.py"
    # Images of other people's data stay out.
    assert "data:image" not in report


def test_the_benchmarks_figures_are_those_of_the_record():
    for path, text in update_docs.figures().items():
        assert path.read_text() == text, "run: python tools/update_docs.py"


@pytest.mark.parametrize(
    ("tool", "record", "figure"),
    [
        (noise_figure, noise_figure.RECORD, noise_figure.FIGURE),
        *((ladder_figure, *pair) for pair in ladder_figure.FIGURES.items()),
    ],
    ids=lambda value: getattr(value, "stem", ""),
)
def test_figures_are_those_of_the_records(tool, record, figure):
    drawn = tool.draw(json.loads(record.read_text()))
    assert figure.read_text() == drawn, f"run: python tools/{tool.__name__}.py"


def _said(recorded, shipped):
    """Whether what was recorded is what ships, but for fields that came later."""
    if isinstance(recorded, dict) and isinstance(shipped, dict):
        return all(key in shipped and _said(value, shipped[key]) for key, value in recorded.items())
    if isinstance(recorded, list) and isinstance(shipped, list):
        return len(recorded) == len(shipped) and all(map(_said, recorded, shipped))
    return recorded == shipped


@pytest.mark.parametrize(
    "record", sorted((ROOT / "docs/records").glob("*-small.json")), ids=lambda p: p.stem
)
def test_records_are_of_the_experiments_that_ship(record):
    recorded = json.loads(record.read_text())["experiment"]
    shipped = load_experiment(record.stem.removesuffix("-small"), "small").to_dict()
    assert _said(recorded, json.loads(json.dumps(shipped)))


@pytest.mark.parametrize("document", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=str)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_the_readme_snippet_runs():
    import torch

    from comdefend.nn.classifier import ClassifierConfig, SmallClassifier

    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    names = {
        "classifier": SmallClassifier(ClassifierConfig(classes=10)).eval(),
        "images": torch.rand(2, 3, 32, 32),
    }
    exec(snippet, names)
    assert names["logits"].shape == (2, 10)


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
