import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import update_docs  # noqa: E402


@pytest.mark.parametrize("document", update_docs.DOCUMENTS)
def test_tables_are_those_of_the_records(document):
    text = (ROOT / document).read_text()
    assert "<!-- table:" in text
    assert text == update_docs.filled(text), "run: python tools/update_docs.py"


@pytest.mark.parametrize("document", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=str)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_the_readme_snippet_runs():
    import torch

    from comdefend.nn.classifier import ClassifierConfig, SmallResNet

    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    names = {
        "classifier": SmallResNet(ClassifierConfig(classes=10)).eval(),
        "images": torch.rand(2, 3, 32, 32),
    }
    exec(snippet, names)
    assert names["logits"].shape == (2, 10)


def test_no_file_names_a_package_index():
    for name in ("uv.txt", "dev.txt"):
        lock = (ROOT / "requirements" / name).read_text()
        assert "://" not in lock
        assert "--index-url" not in lock
        pins = [line for line in lock.splitlines() if line and not line.startswith(" ")]
        assert all("==" in line for line in pins)
        assert lock.count("--hash=sha256:") >= len(pins)
