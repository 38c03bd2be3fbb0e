"""The tutorial, done from top to bottom as a reader does it."""

import shlex

import pytest
from PIL import Image

from comdefend.cli import app
from tools.docs.blocks import blocks
from tools.docs.records import ROOT

# Whichever test comes first does all of it; a loaded machine takes minutes.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """What the tutorial's code leaves behind: its folder, and its names."""
    folder, names = tmp_path_factory.mktemp("tutorial"), {"__name__": "tutorial"}
    found = [block for block in blocks(ROOT / "docs/tutorial.md") if not block.skipped]
    assert {block.needs for block in found} == {"demo"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in found:
            if block.language == "python":
                exec(compile(block.text, "tutorial", "exec"), names)
                continue
            for command in block.text.splitlines():
                program, *arguments = shlex.split(command)
                assert program == "comdefend"
                app(arguments, standalone_mode=False)
    return folder, names


def test_a_photograph_is_purified_and_looks_alike(done):
    folder, _ = done
    with (
        Image.open(folder / "coffee.png") as before,
        Image.open(folder / "coffee-purified.png") as after,
    ):
        assert before.size == after.size
        assert before.tobytes() != after.tobytes()


def test_the_attackers_do_what_the_tutorial_says(done):
    _, names = done
    alone, purified, adaptive = (
        names["right"](names[model], names[images])
        for model, images in (
            ("classifier", "oblivious"), ("defended", "oblivious"), ("defended", "adaptive"),
        )
    )  # fmt: skip
    assert alone <= 1
    # The purifier takes much of the perturbation out again, unless it was made to survive it.
    assert purified > alone
    assert adaptive < purified


def test_the_evaluation_has_the_rows_that_the_tutorial_reads(done):
    folder, names = done
    evaluation = names["evaluation"]
    assert evaluation.record.defense_names == ["none", "photo", "jpeg:25"]
    assert {row.threat for row in evaluation.rows(defense="photo", eps=8)} == {
        "oblivious", "adaptive",
    }  # fmt: skip
    assert not names["failed"]
    assert (folder / "record.json").is_file()
