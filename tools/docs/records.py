"""The records that documents quote, typed.

Evaluations are `comdefend.evaluation.record.Record`, and tools that measure something else say what
their records hold. Of records that no tool writes, only what the documents quote is named here.
"""

from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

from comdefend.common.json_files import load_json
from comdefend.common.processor import Timed
from comdefend.evaluation.record import Record, load_record

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs/records"


def describe(record: Timed) -> str:
    """Return the machine of a timed record in words."""
    native = any("bf16" in flag for flag in record.flags)
    return (
        f"{record.threads} thread{'s' * (record.threads != 1)}, {record.architecture} with "
        f"{record.vectors}, bfloat16 {'in hardware' if native else 'emulated'}, torch "
        f"{record.versions['torch']}"
    )


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


def profile(name: str) -> str:
    """Return the profile in which a shipped experiment was run: ``gpu`` where it was, or small."""
    return "gpu" if (RECORDS / f"{name}-gpu.json").is_file() else "small"


def demo(name: str) -> Record:
    """Read the record of the demo's pictures."""
    return load_record(ROOT / f"docs/demo/{name}.json")


@cache
def evaluation(name: str) -> Record:
    """Read the record of a shipped experiment."""
    return load_record(RECORDS / f"{name}-{profile(name)}.json")
