import re

import pytest
import torch
from torch import nn

import comdefend
from comdefend.errors import InputError, InputTypeError
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend


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
    # To pandas 3 a text that is missing is NaN.
    attacks = [None if pandas.isna(name) else name for name in frame.attack]
    assert attacks == [row.attack for row in evaluation.rows(defense="none")]


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
    def lighter(model, images, labels, eps):
        return (images + eps / 255).clamp(0, 1)

    lighter.__name__ = "darker"
    second = evaluate(fashion, images, attacks=["bim:2", lighter], output=tmp_path)
    assert calls
    queries = {"defense": "none", "threat": "oblivious", "eps": 4}
    assert first.record.row(**queries, attack="bim") == second.record.row(**queries, attack="bim")


class Scaled(nn.Module):
    """A defence whose effect is a plain attribute."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, images):
        return self.factor * images


class Wrapped(nn.Module):
    """A user's own module around a purifier."""

    def __init__(self, purifier):
        super().__init__()
        self.purifier = purifier

    def forward(self, images):
        return self.purifier(images)


class Secretive(nn.Module):
    def forward(self, images):
        return (images + 0.1 * torch.rand_like(images)).clamp(0, 1)


def quick(fashion, images, **changes):
    options = {"defenses": "none", "attacks": "fgsm", "eps": 8, "adaptive_steps": 1}
    return comdefend.evaluate(fashion.classifier, *images, **{**options, **changes}).record


def test_modules_that_differ_by_an_attribute_alone_are_told_apart(fashion, images):
    both = quick(fashion, images, defenses=[Scaled(1.0).eval(), Scaled(0.0).eval()])
    assert both.defense_names == ["none", "Scaled", "Scaled 2"]
    clean = [both.row(defense=name, threat="clean").accuracy for name in ("Scaled", "Scaled 2")]
    assert clean[0] == both.row(defense="none", threat="clean").accuracy > clean[1]


def test_defences_may_be_given_by_name(fashion, images):
    record = quick(fashion, images, defenses={"black": Scaled(0.0).eval()})
    assert record.defense_names == ["none", "black"]


def test_functions_of_one_name_are_different_attacks(fashion, images):
    attacks = [lambda m, x, y, e: x, lambda m, x, y, e: (x - e / 255).clamp(0, 1)]
    record = quick(fashion, images, attacks=attacks, eps=255)
    still, black = (record.row(defense="none", threat="oblivious", attack=name)
        for name in ("<lambda>", "<lambda> 2"))  # fmt: skip
    assert still.correct == record.row(defense="none", threat="clean").correct
    assert black.accuracy < still.accuracy


def test_an_attack_of_the_users_takes_no_name_of_ours(fashion, images):
    def pgd(model, images, labels, eps):
        return images

    with pytest.raises(InputError, match="attack 'pgd': there is one of that name; rename yours"):
        quick(fashion, images, attacks=pgd)


def test_the_attack_through_the_defence_is_no_weaker_than_the_one_asked_for(fashion, images):
    record = quick(fashion, images, attacks=["pgd:3"])
    assert {row.steps for row in record.rows(attack="pgd")} == {3}


def test_a_purifier_inside_a_module_is_attacked_by_stand_ins(fashion, images):
    torch.manual_seed(0)
    config = PurifierConfig(channels=1, encoder_widths=(4,), decoder_widths=(4,), code_maps=4)
    record = quick(fashion, images, defenses=Wrapped(ComDefend(config)).eval())
    assert "noisy" in record.row(defense="Wrapped", threat="adaptive").detail


def test_an_attack_that_changes_nothing_is_measured_too(fashion, images):
    torch.manual_seed(0)
    config = PurifierConfig(channels=1, encoder_widths=(4,), decoder_widths=(4,), code_maps=4)

    def still(model, images, labels, eps):
        return images

    record = quick(fashion, images, defenses=ComDefend(config).eval(), attacks=still)
    assert [flip.change for flip in record.defense("ComDefend").code.flips] == ["random"]


@pytest.mark.parametrize(
    ("defense", "message"),
    [
        (Scaled(255.0), r"Scaled: must return images in \[0, 1\] without NaN"),
        (nn.Flatten(), "Flatten: must return images of shape"),
        (nn.Linear(3, 3), "Linear: fails on images of shape"),
    ],
)
def test_what_is_no_defence_is_refused(fashion, images, defense, message):
    with pytest.raises(InputError, match=message):
        quick(fashion, images, defenses=defense.eval())
    with pytest.raises(InputError, match="training mode"):
        quick(fashion, images, defenses=defense.train())


def test_a_defence_that_draws_without_saying_so_is_found_out(fashion, images):
    record = quick(fashion, images, defenses=Secretive().eval())
    assert record.defense("Secretive").random
    assert not record.defense("Secretive").random_classifier
    assert record.row(defense="Secretive", threat="adaptive").resubmitted


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
