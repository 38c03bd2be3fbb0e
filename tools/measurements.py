"""What the tools beside the evaluation measure, typed: the layouts of their records."""

from pathlib import Path

import msgspec

from comdefend.common.processor import Machine
from comdefend.evaluation.record import Flip

RECORDS = Path(__file__).parents[1] / "docs/records"
"""Where the records lie that documents quote."""


class Timed(Machine, frozen=True, kw_only=True):
    """What every timed record says."""

    threads: int


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


class LeftOut(msgspec.Struct, frozen=True):
    """An engine that could not be opened, and why."""

    weights: str
    engine: str
    precision: str
    reason: str


class EngineSet(msgspec.Struct, frozen=True, kw_only=True):
    """The engines on one data set; ``bare`` is the classifier without a purifier."""

    data: str
    classifier: str
    images: int
    bare: Split
    rows: tuple[EngineRow, ...]
    left_out: tuple[LeftOut, ...] = ()


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


class Kept(Machine, frozen=True, kw_only=True):
    """``kept.json``; eps in units of 1/255, PSNR in dB."""

    weights: str
    classifier: str
    data: str
    images: int
    seed: int
    eps: float
    steps: dict[str, int]
    perturbation_psnr: float
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
    rounds: int
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
