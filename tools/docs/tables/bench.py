"""The benchmark's tables."""

from comdefend.bench import tables
from comdefend.bench.jobs import BASELINE, PHOTO
from comdefend.bench.record import Record, fastest, select
from tools.docs.markdown import table
from tools.docs.records import describe, read


def full() -> str:
    """Every row that a run of the benchmark measured."""
    return "\n".join(tables.rows_table(_record().rows))


def notes() -> str:
    """Peaks, ratios, and what was left out."""
    return "\n".join(tables.notes(_record()))


def machine() -> str:
    """The machine that it ran on."""
    return describe(_record())


def short() -> str:
    """One image of 224x224: the fastest engine of each, and purifiers by plain torch too."""
    rows = select(_record().rows, size=PHOTO)
    lines = []
    for name in dict.fromkeys(row.weights for row in rows):
        best = fastest(rows, weights=name)
        for row in select(rows, weights=name):
            plain = row.kind == "purifier" and (row.engine, row.precision) == BASELINE
            if row is best or plain:
                time, memory = tables.figure(1000 * row.seconds), f"{row.resident_mb:,}"
                lines.append([name, row.engine_name, time, memory])
    return table(["", "computed by", "milliseconds", "resident, MB"], lines, names=2)


def milliseconds(weights: str, engine: str | None = None, precision: str | None = None) -> str:
    """How long one image of 224x224 takes by an engine, or by the only one there is."""
    wanted = {"weights": weights} | ({"engine": engine, "precision": precision} if engine else {})
    (row,) = select(_record().rows, size=PHOTO, **wanted)
    return tables.figure(1000 * row.seconds)


def ratio(weights: str) -> str:
    """How many times as fast as the full network in float32 torch the best engine makes these."""
    (found,) = select(_record().ratios, what="against_baseline", weights=weights)
    return f"{found.value:.1f}"


def _record() -> Record:
    return read(Record, "bench")
