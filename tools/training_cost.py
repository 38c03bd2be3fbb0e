"""Record what training costs: ``python -m tools.training_cost RUN...``.

Reads the times of the logged steps in the TensorBoard log of each run, made with ``--precision
float32``. The median over intervals ignores pauses and other work on the machine.
"""

import os
import platform
import statistics
import sys
from itertools import pairwise
from pathlib import Path

import msgspec
import torch

from comdefend.common.json_files import save_json

RECORD = Path(__file__).parent.parent / "docs" / "records" / "training-cost.json"


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


class _Recipe(msgspec.Struct, frozen=True):
    steps: int
    epoch_steps: int


def cost(run: Path) -> CostRow:
    """Return the training speed of a run, whose folder has the name of its recipe."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = msgspec.json.decode((run / "recipe.json").read_bytes(), type=_Recipe)
    log = EventAccumulator(str(run / "logs" / "tensorboard"))
    log.Reload()
    rates = [
        (b.step - a.step) / (b.wall_time - a.wall_time)
        for a, b in pairwise(log.Scalars("loss"))
        # Intervals within an epoch: between two epochs is a validation.
        if a.step // recipe.epoch_steps == b.step // recipe.epoch_steps
    ]
    vectors = torch.backends.cpu.get_cpu_capability()
    return CostRow(
        recipe=run.name,
        machine=f"{os.cpu_count()} cores, {platform.machine()} with {vectors}, float32",
        rate=statistics.median(rates),
        steps=recipe.steps,
        epoch_steps=recipe.epoch_steps,
    )


if __name__ == "__main__":
    save_json(TrainingCost(tuple(cost(Path(run)) for run in sys.argv[1:])), RECORD)
