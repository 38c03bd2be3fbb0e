"""What engines cost in use: the first image, and several threads that call."""

import statistics

from comdefend.bench.tables import figure
from tools.docs.markdown import table
from tools.docs.records import read
from tools.engine_use import CALLERS, EngineUse


def first() -> str:
    """One photograph by a process of its own."""
    lines = [
        [
            one.engine,
            figure(statistics.median(one.seconds)),
            figure(statistics.median(one.cpu_seconds)),
            f"{one.resident_mb:,.0f}",
        ]
        for one in read(EngineUse, "engine-use").first
    ]
    return table(["", "seconds", "of the processor", "resident, MB"], lines)


def called() -> str:
    """Images a second of an engine that several threads call."""
    found = read(EngineUse, "engine-use").called
    lines = []
    for name in dict.fromkeys((one.engine, one.precision) for one in found):
        rows = {one.callers: one for one in found if (one.engine, one.precision) == name}
        rates = [figure(statistics.median(rows[count].rates)) for count in CALLERS]
        lines.append([" ".join(name), *rates])
    head = ["", "1 caller", *(f"{count} callers" for count in CALLERS[1:])]
    return table(head, lines)


def gain() -> str:
    """How many times as fast OpenVINO is in 8-bit integers as in float32, for one caller."""
    found = read(EngineUse, "engine-use").called
    rates = {
        one.precision: one.rates for one in found if (one.engine, one.callers) == ("openvino", 1)
    }
    ratios = (a / b for a, b in zip(rates["int8"], rates["float32"], strict=True))
    return f"{statistics.median(ratios):.2g}"
