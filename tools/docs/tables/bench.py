"""The benchmark's tables."""

from comdefend.bench import tables
from comdefend.bench.jobs import BASELINE, PHOTO
from comdefend.bench.ratios import fastest, size_of
from comdefend.common import schema
from tools.docs.markdown import table
from tools.docs.records import Measured, bench


def full() -> str:
    """Every row that a run of the benchmark measured."""
    return "\n".join(tables.rows_table(bench()["rows"]))


def notes() -> str:
    """Peaks, ratios, and what was left out."""
    return "\n".join(tables.notes(bench()))


def short() -> str:
    """One image of 224x224: the fastest engine of each, and purifiers by plain torch too."""
    rows = [row for row in bench()["rows"] if size_of(row) == PHOTO]
    lines = []
    for name in dict.fromkeys(row["weights"] for row in rows):
        best = fastest(rows, name, PHOTO)
        for row in rows:
            plain = row["kind"] == "purifier" and (row["engine"], row["precision"]) == BASELINE
            if row["weights"] == name and (row is best or plain):
                time, memory = tables.figure(1000 * row["seconds"]), f"{row['resident_mb']:,}"
                lines.append([name, tables.engine_name(row), time, memory])
    return table(["", "computed by", "milliseconds", "resident, MB"], lines, names=2)


def machine() -> str:
    """The machine that it ran on."""
    return schema.build(Measured, bench(), "bench").machine


def ratio(weights: str) -> str:
    """How many times as fast as the full network in float32 PyTorch the best engine makes these."""
    for found in bench()["ratios"]:
        if (found["what"], found["weights"]) == ("against_baseline", weights):
            return f"{found['value']:.1f}"
    raise LookupError(weights)
