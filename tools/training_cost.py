"""Record what training cost: ``python -m tools.training_cost RUN...``.

Reads the times of the logged steps in each run's TensorBoard log, and takes the median over
intervals, so that pauses and other work on the machine do not count.
"""

import json
import os
import platform
import statistics
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

RECORD = Path(__file__).parent.parent / "docs" / "records" / "training-cost.json"


def cost(run: Path) -> dict[str, Any]:
    """Return the steps a second of a run, and what they belong to."""
    recipe = json.loads((run / "recipe.json").read_text())
    log = EventAccumulator(str(run / "logs" / "tensorboard"))
    log.Reload()
    events = log.Scalars("loss")
    rates = [
        (b.step - a.step) / (b.wall_time - a.wall_time)
        for a, b in pairwise(events)
        # The step after a validation waits for it.
        if a.step // recipe["epoch_steps"] == b.step // recipe["epoch_steps"]
    ]
    return {
        "recipe": run.name,
        "machine": f"{os.cpu_count()} cores, {_processor()}, float32",
        "rate": statistics.median(rates),
        "steps": recipe["steps"],
        "epoch_steps": recipe["epoch_steps"],
    }


def _processor() -> str:
    flags = Path("/proc/cpuinfo").read_text() if platform.system() == "Linux" else ""
    vector = next((v for v in ("avx512f", "avx2") if v in flags), "no AVX2")
    return f"{platform.machine()} with {vector.upper().removesuffix('F')}"


if __name__ == "__main__":
    rows = [cost(Path(run)) for run in sys.argv[1:]]
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(json.dumps({"rows": rows}, indent=2) + "\n")
