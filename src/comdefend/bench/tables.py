"""A benchmark's record as Markdown."""

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]

_HEAD = (
    "| images | what | engine | images a second | ms (quartiles) | GFLOP/s | of the peak "
    "| PSNR to float32, dB | bits that differ | resident, MB |",
    "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
)


def markdown_table(record: Row) -> str:
    """Return the whole table, with the peaks and ratios, and what was left out."""
    return "\n".join([*rows_table(record["rows"]), "", *notes(record)]) + "\n"


def rows_table(rows: Sequence[Row]) -> list[str]:
    """Return a table of rows, line by line."""
    lines = []
    for row in rows:
        low, high = (1000 * seconds for seconds in row["seconds_quartiles"])
        cells = [
            shape_name(row),
            row["weights"],
            engine_name(row),
            figure(row["images_per_second"]),
            f"{figure(1000 * row['seconds'])} ({figure(low)} to {figure(high)})",
            _number(row["gflops"], ".0f"),
            _number(row["share_of_peak"], ".0%"),
            *quality_cells(row),
            f"{row['resident_mb']:,}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*_HEAD, *lines]


def figure(value: float) -> str:
    """Return three significant digits without an exponent: 1,320, 44.7, 0.758."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def notes(record: Row) -> list[str]:
    """Return what stands below the table: peaks, ratios, and what was left out and why."""
    peaks = ", ".join(f"{p['gflops']:.0f} in {p['precision']}" for p in record["peaks"])
    lines = [
        f"{record['threads']} threads; medians of up to {record['rounds']} rounds in which all of "
        "a shape take turns, after a warm-up. GFLOP/s count two operations for each multiply-add; "
        f"their peak is a matrix product in torch: {peaks}. JPEG, total variation and non-local "
        "means compute on one thread. ResNet-50 has random weights: only its speed is meant. Each "
        f"row has a process of its own; {record['torch_mb']} MB of its memory are torch's.",
    ]
    if record["ratios"]:
        lines += ["", *(f"- {ratio_text(ratio)}" for ratio in record["ratios"])]
    reasons: dict[str, list[str]] = {}
    for row in record["left_out"]:
        names = reasons.setdefault(row["reason"], [])
        names.append(" ".join(filter(None, (row["weights"], engine_name(row)))))
    if reasons:
        lines += ["", "Left out:", ""]
        lines += [f"- {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    return lines


def ratio_text(ratio: Row) -> str:
    """Return one of the ratios as a phrase."""
    who = f"{ratio['weights']} by {engine_name(ratio)}"
    if ratio["what"] == "peak_bfloat16":
        return f"{who}: {ratio['value']:.0%} of a matrix product's speed"
    to = ratio["to"]
    return f"{who}: {ratio['value']:.3g} times as fast as {to['weights']} by {engine_name(to)}"


def engine_name(row: Row) -> str:
    """Return engine and precision."""
    return " ".join(part for part in (row["engine"], row["precision"]) if part)


def shape_name(row: Row) -> str:
    """Return the number and size of the images."""
    count, _, height, width = row["shape"]
    return f"{count} of {height}x{width}"


def quality_cells(row: Row) -> list[str]:
    """Return PSNR to float32 torch, and the share of bits that differ."""
    if row["flipped_bits"] is None:
        return ["–", "–"]
    psnr = _number(row["psnr_to_float32"], ".1f")
    return ["equal" if psnr == "–" else psnr, f"{row['flipped_bits']:.3%}"]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
