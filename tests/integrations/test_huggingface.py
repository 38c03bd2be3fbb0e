"""Folders of the hub, written by us and by huggingface_hub itself."""

import json
import pickle

import pytest
import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin
from safetensors.torch import load_file, save_file

import comdefend
from comdefend.common.schema import build, to_plain
from comdefend.errors import DataMissingError, InputError, OutputError, WeightsError
from comdefend.integrations.huggingface import from_pretrained, save_pretrained
from comdefend.nn.config import PurifierConfig
from comdefend.nn.purifier import ComDefend

TINY = PurifierConfig(encoder_widths=(4,), decoder_widths=(4,), code_maps=2)


class Hub(
    ComDefend,
    PyTorchModelHubMixin,
    coders={PurifierConfig: (to_plain, lambda plain: build(PurifierConfig, plain, "config"))},
):
    """What someone writes who uses the mixin itself."""


@pytest.fixture
def purifier():
    torch.manual_seed(0)
    return ComDefend(TINY).eval()


@pytest.fixture
def folder(purifier, tmp_path):
    save_pretrained(purifier, tmp_path / "mine", record={"seed": 7}, license="mit")
    return tmp_path / "mine"


def same(first, second):
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def test_a_folder_comes_back_as_it_was(folder, purifier):
    loaded = from_pretrained(folder)
    assert type(loaded) is ComDefend
    assert not loaded.training
    assert loaded.config == purifier.config
    assert same(loaded, purifier)
    # The weight file is one of ours as well.
    assert same(comdefend.load(folder / "model.safetensors"), purifier)
    assert comdefend.load_record(folder / "model.safetensors") == {"seed": 7}
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "comdefend"
    assert card.data.license == "mit"


def test_a_shipped_purifier_with_several_rates(tmp_path):
    shipped = comdefend.load("photo")
    save_pretrained(shipped, tmp_path)
    loaded = from_pretrained(tmp_path)
    assert loaded.config == shipped.config
    images = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        assert loaded.at(1)(images).equal(shipped.at(1)(images))


def test_huggingface_hub_reads_what_we_write_and_we_read_what_it_writes(folder, purifier, tmp_path):
    assert same(Hub.from_pretrained(folder), purifier)
    theirs = Hub(TINY)
    theirs.save_pretrained(tmp_path / "theirs")
    assert same(from_pretrained(tmp_path / "theirs"), theirs)
    files = {path.name for path in (tmp_path / "theirs").iterdir()}
    assert files == {path.name for path in folder.iterdir()}


def test_the_card_holds_the_evaluations_figures(fashion, tmp_path):
    purifier = comdefend.load("gray-2bpp-adversarial")
    evaluation = comdefend.evaluate(
        fashion.classifier, fashion.images[:4], fashion.labels[:4],
        defenses={"none": None, "shield": purifier}, attacks="bim:2", eps=8, adaptive_steps=2,
    )  # fmt: skip
    save_pretrained(purifier, tmp_path, evaluation=evaluation)
    results = ModelCard.load(tmp_path / "README.md").data.eval_results
    rows = evaluation.rows(defense="shield")
    assert len(results) == len(rows)
    by_threat = {result.metric_args["threat"]: result for result in results}
    assert set(by_threat) == {"clean", "oblivious", "adaptive"}
    adaptive = by_threat["adaptive"]
    (row,) = (r for r in rows if r.threat == "adaptive" and r.attack == "pgd")
    found = next(r for r in results if r.metric_args.get("attack") == row.attack)
    assert found.metric_value == pytest.approx(row.accuracy, abs=1e-4)
    assert adaptive.metric_args["eps_255"] == 8
    assert {"norm", "steps", "images", "classifier", "seed"} <= set(adaptive.metric_args)
    text = (tmp_path / "README.md").read_text()
    assert "| adaptive pgd, Linf 8/255, 2 steps |" in text
    two = comdefend.evaluate(
        fashion.classifier, fashion.images[:2], fashion.labels[:2], defenses=["bits:3", "jpeg:50"],
        attacks="fgsm", eps=8, adaptive_steps=1,
    )  # fmt: skip
    with pytest.raises(InputError, match="say which of bits:3, jpeg:50 the purifier is"):
        save_pretrained(purifier, tmp_path / "new", evaluation=two)
    with pytest.raises(InputError, match="has bits:3, jpeg:50, not 'x'"):
        save_pretrained(purifier, tmp_path / "new", evaluation=two, defense="x")
    assert not (tmp_path / "new").exists()


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def test_nothing_is_ever_unpickled(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataMissingError, match=r"model\.safetensors: no such file"):
        from_pretrained(folder)
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(WeightsError, match="corrupt"):
        from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code_maps": 10**9}, "code_maps must be an integer from 1 to 2048"),
        ({"encoder_widths": [2048] * 64}, "tensors do not fit"),
        ({"code_maps": 3}, "tensors do not fit"),
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"encoder": "evil.module:run"}, "unknown field 'encoder'"),
        ({"phi": "x"}, "phi"),
    ],
)
def test_a_configuration_is_not_trusted(folder, change, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(WeightsError, match=message) as raised:
        from_pretrained(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "\x00", "[" * 100_000, " " * (1 << 21)])
def test_a_damaged_configuration_is_one_line(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(WeightsError, match="config") as raised:
        from_pretrained(folder)
    assert "\n" not in str(raised.value)


def test_weights_that_are_not_finite_are_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    next(iter(tensors.values())).fill_(float("nan"))
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="infinite or not a number"):
        from_pretrained(folder)


def test_a_folder_that_is_not_there_or_cannot_be_made(purifier, tmp_path):
    with pytest.raises(DataMissingError, match="nothing is downloaded"):
        from_pretrained("somebody/something")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_pretrained(purifier, tmp_path / "file" / "folder")
