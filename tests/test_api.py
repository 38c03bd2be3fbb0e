import re

import pytest
import torch
from torch import nn

import comdefend
from comdefend.errors import InputError, InputTypeError


@pytest.fixture(scope="module")
def images(fashion):
    return fashion.images[::20], fashion.labels[::20]


class Halved(nn.Module):
    """A user's defence: half of the contrast."""

    def forward(self, images):
        return 0.25 + images / 2


def darker(model, images, labels, eps):
    """A user's attack: everything darker by eps."""
    return (images - eps / 255).clamp(0, 1)


def evaluate(fashion, images, **changes):
    options = {
        "defenses": ["none", Halved().eval(), "jpeg:25"], "attacks": ["bim:2", darker],
        "eps": [4], "adaptive_steps": 2,
    }  # fmt: skip
    return comdefend.evaluate(fashion.classifier, *images, **{**options, **changes})


@pytest.fixture(scope="module")
def evaluation(fashion, images):
    return evaluate(fashion, images)


def test_modules_and_functions_are_evaluated_as_names_are(evaluation, fashion, images):
    record = evaluation.record
    assert record.defense_names == ["none", "Halved", "jpeg:25"]
    assert record.data.images == 10
    row = record.row(defense="none", threat="oblivious", attack="darker", eps=4)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        right = fashion.classifier(darker(None, images[0], None, 4)).argmax(1) == images[1]
    assert row.correct == "".join(str(int(r)) for r in right[order])
    assert {row.attack for row in evaluation.rows(defense="Halved", threat="adaptive")} == {
        "pgd", "bim", "darker",
    }  # fmt: skip


def test_an_evaluation_shows_itself(evaluation):
    text = repr(evaluation)
    assert "Halved" in text
    assert "adaptive" in text
    html = evaluation._repr_html_()
    assert "<table" in html
    assert "<script" not in html


def test_an_evaluation_is_saved_reported_and_loaded(evaluation, tmp_path):
    evaluation.save(tmp_path / "record.json")
    evaluation.report(tmp_path / "report.html")
    assert comdefend.Evaluation.load(tmp_path / "record.json").record == evaluation.record
    assert "Halved" in (tmp_path / "report.html").read_text()


def test_rows_become_a_data_frame(evaluation):
    pandas = pytest.importorskip("pandas")
    frame = evaluation.rows(defense="none").to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.attack) == [row.attack for row in evaluation.rows(defense="none")]


def test_modules_and_functions_resume_by_what_they_are(fashion, images, tmp_path, monkeypatch):
    from comdefend.evaluation import attacker

    first = evaluate(fashion, images, output=tmp_path)
    assert (tmp_path / "report.html").is_file()
    assert "| Halved |" in (tmp_path / "table.md").read_text()

    calls = []
    original = attacker.run_attack
    monkeypatch.setattr(
        attacker, "run_attack", lambda *a, **o: calls.append(a) or original(*a, **o)
    )
    assert evaluate(fashion, images, output=tmp_path).record.results == first.record.results
    assert not calls
    # Another function under the same name is another attack.
    lighter = lambda model, images, labels, eps: (images + eps / 255).clamp(0, 1)  # noqa: E731
    lighter.__name__ = "darker"
    second = evaluate(fashion, images, attacks=["bim:2", lighter], output=tmp_path)
    assert calls
    queries = {"defense": "none", "threat": "oblivious", "eps": 4}
    assert first.record.row(**queries, attack="bim") == second.record.row(**queries, attack="bim")


def test_a_data_set_and_names_do_as_well(place_of_images, tmp_path):
    evaluation = comdefend.evaluate(
        "fashion-mnist-small", data=f"folder:{place_of_images}", defenses=["bits:3"],
        attacks=["fgsm"], eps=[8], adaptive_steps=2, sample=4,
    )  # fmt: skip
    assert evaluation.record.defense_names == ["none", "bits:3"]
    assert evaluation.record.data.images == 4


@pytest.fixture
def place_of_images(fashion, tmp_path):
    from PIL import Image

    for index in range(0, 200, 40):
        label = int(fashion.labels[index])
        folder = tmp_path / "images" / "test" / f"{label}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (fashion.images[index, 0] * 255).round().byte().numpy()
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "images"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"data": "mnist"}, InputError, "give either images and labels, or data"),
        ({"eps": [8 / 255]}, InputError, "whole numbers of 1/255"),
        ({"attacks": ["magic"]}, InputError, "unknown attack 'magic'"),
        ({"defenses": [5]}, InputTypeError, "defenses: must be names or nn.Modules, not int"),
        ({"mean": [0.5]}, InputError, "mean and std: give both or neither"),
    ],
)
def test_mistakes_are_one_line(fashion, images, change, error, message):
    with pytest.raises(error, match=message) as caught:
        evaluate(fashion, images, **change)
    assert "\n" not in str(caught.value)


def test_images_are_checked(fashion, images):
    pixels, labels = images
    with pytest.raises(InputError, match=re.escape("images: must lie in [0, 1]")):
        comdefend.evaluate(fashion.classifier, 255 * pixels, labels)
    with pytest.raises(InputTypeError, match="labels: must be integers"):
        comdefend.evaluate(fashion.classifier, pixels, labels.float())
    with pytest.raises(InputError, match="training mode"):
        comdefend.evaluate(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).train(), pixels, labels)
    with pytest.raises(InputTypeError, match="classifier must be an"):
        comdefend.evaluate(5, pixels, labels)
