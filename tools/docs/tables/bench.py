"""The benchmark's tables."""

from comdefend.bench import tables
from comdefend.bench.jobs import BASELINE, PHOTO
from comdefend.bench.record import Record, fastest, select
from tools.docs.markdown import EMPTY, table
from tools.docs.records import RECORDS, describe, read

CLASSES = {
    "avx2": "AVX2",
    "avx512": "AVX-512 with VNNI",
    "amx": "AMX",
    "arm": "ARM",
    "cuda": "CUDA",
}
"""Class of processor, as a record's name ends -> its title."""

_SHOWN = "avx512"
"""The class that tables and figures of speed are of, unless they say otherwise."""


def full() -> str:
    """Every row that a run of the benchmark measured, and its notes, class by class."""
    parts = []
    for name in measured():
        record = _record(name)
        link = f"[record](../records/bench-{name}.json)"
        parts += [f"## {CLASSES[name]}", f"{describe(record)}; {link}, made by `comdefend bench`."]
        parts += [
            "\n".join(lines) for lines in (tables.rows_table(record.rows), tables.notes(record))
        ]
    return "\n\n".join(parts)


def measured() -> list[str]:
    """Return the classes of processors of which there is a record."""
    return [name for name in CLASSES if (RECORDS / f"bench-{name}.json").is_file()]


def missing() -> str:
    """The classes of which there is none."""
    return ", ".join(title for name, title in CLASSES.items() if name not in measured())


def classes() -> str:
    """One image of 224x224 by the fastest engine of each, for all classes side by side."""
    records = {name: _record(name) for name in measured()}
    rows = {name: select(record.rows, size=PHOTO) for name, record in records.items()}
    everything = dict.fromkeys(row.weights for found in rows.values() for row in found)
    lines = []
    for what in everything:
        line = [what]
        for found in rows.values():
            best = fastest(found, weights=what)
            line += [tables.figure(1000 * best.seconds), best.engine_name] if best else [EMPTY] * 2
        lines.append(line)
    head = [""]
    for name in records:
        head += [f"{CLASSES[name]}: milliseconds", "computed by"]
    return table(head, lines)


def machine(of: str = _SHOWN) -> str:
    """The machine that it ran on."""
    return describe(_record(of))


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


def milliseconds(
    weights: str, engine: str | None = None, precision: str | None = None, of: str = _SHOWN
) -> str:
    """How long one image of 224x224 takes by an engine, or by the only one there is."""
    wanted = {"weights": weights} | ({"engine": engine, "precision": precision} if engine else {})
    (row,) = select(_record(of).rows, size=PHOTO, **wanted)
    return tables.figure(1000 * row.seconds)


def ratio(weights: str) -> str:
    """How many times as fast as the full network in float32 torch the best engine makes these."""
    (found,) = select(_record().ratios, what="against_baseline", weights=weights)
    return f"{found.value:.1f}"


def _record(name: str = _SHOWN) -> Record:
    return read(Record, f"bench-{name}")
