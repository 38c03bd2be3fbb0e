import json

import pytest
import torch
from safetensors.torch import save_file

from comdefend.classifiers.names import checkpoint_class_names

WEIGHTS = {"head.weight": torch.zeros(2, 3)}


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": WEIGHTS, "classes": ["ant", "bee"]},
        {"model": WEIGHTS, "class_to_idx": {"bee": 1, "ant": 0}},
        {"state_dict": WEIGHTS, "hyper_parameters": {"class_names": ["ant", "bee"]}},
        {"state_dict": WEIGHTS, "classes": 2, "idx_to_class": {0: "ant", 1: "bee"}},
    ],
)
def test_names_inside_a_checkpoint(tmp_path, content):
    torch.save(content, tmp_path / "best.pt")
    assert checkpoint_class_names(tmp_path / "best.pt").first == ("ant", "bee")


def test_names_inside_safetensors_or_beside_them(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(WEIGHTS, path, {"class_names": json.dumps(["ant", "bee"])})
    assert checkpoint_class_names(path).first == ("ant", "bee")
    save_file(WEIGHTS, path)
    assert checkpoint_class_names(path) is None
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "ant", "1": "bee"}}))
    assert checkpoint_class_names(path).first == ("ant", "bee")
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"label_names": ["x"]}}))
    assert checkpoint_class_names(path).first == ("x",)


def test_damaged_files_are_left_to_whoever_opens_them(tmp_path):
    (tmp_path / "bad.pt").write_bytes(b"nonsense")
    (tmp_path / "config.json").write_text("{")
    assert checkpoint_class_names(tmp_path / "bad.pt") is None
