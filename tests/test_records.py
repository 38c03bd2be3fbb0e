"""Every record that documents quote loads as what it is."""

import json
from pathlib import Path

import pytest

from comdefend.bench.record import Record as Bench
from comdefend.certification.record import load_certification, save_certification
from comdefend.common.json_files import load_json
from comdefend.evaluation.record import load_record
from tools.codec_accuracy import CodecAccuracy
from tools.codec_rates import CodecRates
from tools.defense_cost import DefenseCost
from tools.docs.records import Distillation, WeightDecay
from tools.engine_equality import Engines
from tools.engine_use import EngineUse
from tools.entropy_coding import EntropyCoding
from tools.kept import Kept
from tools.photograph_sizes import Sizes
from tools.rate_term import RateTerm
from tools.ray_rate import RayPurify
from tools.service_load import ServiceLoad
from tools.training_cost import TrainingCost

DOCS = Path(__file__).parent.parent / "docs"
RECORDS = sorted([*(DOCS / "records").iterdir(), *(DOCS / "demo").glob("*.json")])
KINDS = {
    "codec-accuracy": CodecAccuracy,
    "codec-rates": CodecRates,
    "defense-cost": DefenseCost,
    "distillation": Distillation,
    "engine-use": EngineUse,
    "engines": Engines,
    "entropy-coding": EntropyCoding,
    "kept": Kept,
    "photograph-sizes": Sizes,
    "rate-term": RateTerm,
    "ray-purify": RayPurify,
    "service-load": ServiceLoad,
    "training-cost": TrainingCost,
    "weight-decay": WeightDecay,
}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_record_loads(path):
    if path.stem.startswith("bench-"):
        assert load_json(Bench, path).rows
    elif path.stem in KINDS:
        assert load_json(KINDS[path.stem], path)
    elif path.stem.startswith("certified-"):
        assert load_certification(path).levels
    else:
        assert load_record(path).results


@pytest.mark.parametrize(
    "path", [p for p in RECORDS if p.stem.startswith("certified-")], ids=lambda path: path.stem
)
def test_every_certification_comes_back_as_it_was(path, tmp_path):
    save_certification(load_certification(path), tmp_path / "record.json")
    again, before = (json.loads(p.read_text()) for p in (tmp_path / "record.json", path))
    # PyTorch computed classifiers before records said what does.
    assert again == {"classifier_engine": "torch", **before}
