"""The records that documents quote, typed.

Evaluations are `comdefend.evaluation.record.Record`; each tool that measures something else has a
layout of its own, and of that only what the documents quote is named here.
"""

from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from comdefend.bench import record as bench
from comdefend.common.json_files import load_json
from comdefend.common.processor import Machine
from comdefend.evaluation.record import Flip, Record, load_record

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs/records"


class Timed(Machine, frozen=True, kw_only=True):
    """What every timed record says; `describe` puts it in words."""

    threads: int


def describe(record: Timed | bench.Record) -> str:
    """Return the machine of a timed record in words."""
    native = any("bf16" in flag for flag in record.flags)
    return (
        f"{record.threads} thread{'s' * (record.threads != 1)}, {record.architecture} with "
        f"{record.vectors}, bfloat16 {'in hardware' if native else 'emulated'}, torch "
        f"{record.versions['torch']}"
    )


class Attack(msgspec.Struct, frozen=True):
    """The attack of a record; eps in units of 1/255."""

    attack: str
    eps: float
    steps: int


class Split(msgspec.Struct, frozen=True):
    """One figure for clean and one for attacked images."""

    clean: float
    attacked: float


class EngineRow(msgspec.Struct, frozen=True, kw_only=True):
    """One engine beside torch in float32; PSNR in dB, None where the images are equal."""

    weights: str
    engine: str
    precision: str
    psnr: float | None
    flipped_bits: float
    accuracy: Split
    change: Split


class EngineSet(msgspec.Struct, frozen=True):
    """The engines on one data set."""

    data: str
    classifier: str
    images: int
    rows: tuple[EngineRow, ...]


class Engines(Timed, frozen=True, kw_only=True):
    """``engines.json``."""

    attack: Attack
    seed: int
    sets: tuple[EngineSet, ...]


class KeptRow(msgspec.Struct, frozen=True):
    """What a code keeps at one rate."""

    bpp: float
    psnr: float
    flips: tuple[Flip, ...]


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """``kept.json``."""

    weights: str
    classifier: str
    data: str
    images: int
    eps: float
    steps: dict[str, int]
    rows: tuple[KeptRow, ...]


class SpeedRow(msgspec.Struct, frozen=True):
    """Images per second behind a defence, and its share of the bare classifier's."""

    defense: str
    rate: float
    ratio: float


class Speed(msgspec.Struct, frozen=True):
    """The defences in front of one classifier."""

    classifier: str
    shape: tuple[int, int, int, int]
    rounds: int
    rows: tuple[SpeedRow, ...]


class Precisions(msgspec.Struct, frozen=True):
    """One figure for float32 and one for bfloat16."""

    float32: float
    bfloat16: float


class VerdictRow(msgspec.Struct, frozen=True):
    """What bfloat16 changes about one defence."""

    defense: str
    images: str
    changed: int
    accuracy: Precisions
    bits: float | None = None
    psnr: float | None = None


class Speedup(msgspec.Struct, frozen=True):
    """Images per second in both precisions."""

    defense: str
    float32: float
    bfloat16: float
    ratio: float


class Bfloat16(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison of bfloat16 with float32."""

    classifier: str
    data: str
    images: int
    seed: int
    attack: Attack
    batch: int
    rows: tuple[VerdictRow, ...]
    speeds: tuple[Speedup, ...]


class DefenseCost(Timed, frozen=True, kw_only=True):
    """``defense-cost.json``."""

    costs: tuple[Speed, ...]
    bfloat16: Bfloat16


class CostRow(msgspec.Struct, frozen=True):
    """One timed training; ``rate`` in steps per second."""

    recipe: str
    machine: str
    rate: float
    steps: int
    epoch_steps: int


class TrainingCost(msgspec.Struct, frozen=True):
    """``training-cost.json``."""

    rows: tuple[CostRow, ...]


class DecayRow(msgspec.Struct, frozen=True):
    """A purifier trained with one weight decay."""

    weight_decay: float
    validation_psnr: float
    abs_z: float


class DecayNetwork(msgspec.Struct, frozen=True):
    """The network of those trainings."""

    encoder_widths: tuple[int, ...]


class DecayRecipe(msgspec.Struct, frozen=True):
    """Their recipe."""

    data: str
    steps: int
    network: DecayNetwork


class WeightDecay(msgspec.Struct, frozen=True):
    """``weight-decay.json``."""

    recipe: DecayRecipe
    measured_on: str
    rows: tuple[DecayRow, ...]


class DistillationRow(msgspec.Struct, frozen=True):
    """One training of the lite network."""

    name: str
    steps: int
    crop: int
    phi: float
    teaching: float
    same_bits: float
    validation_psnr: float


class Distillation(msgspec.Struct, frozen=True):
    """``distillation.json``."""

    teacher: str
    measured_on: str
    machine: str
    rows: tuple[DistillationRow, ...]


_T = TypeVar("_T", bound=msgspec.Struct)


# Equal arguments mean the same file, which nobody writes while documents are made.
@cache
def read(kind: type[_T], name: str) -> _T:
    """Read a record of docs/records that is not an evaluation."""
    return load_json(kind, RECORDS / f"{name}.json")


@cache
def evaluation(name: str) -> Record:
    """Read the record of a shipped experiment, run in its small profile."""
    return load_record(RECORDS / f"{name}-small.json")
