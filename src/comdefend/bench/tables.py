"""A benchmark's record as Markdown."""

from collections.abc import Sequence

from comdefend.bench.jobs import job_title
from comdefend.bench.record import Ratio, Record, Row

_HEAD = (
    "| images | what | engine | images per second | ms (quartiles) | GFLOP/s | share of peak "
    "| PSNR to float32, dB | bits that differ | memory, MB |",
    "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
)


def markdown_table(record: Record) -> str:
    """Return the whole table, with peaks, ratios, and what was left out."""
    return "\n".join([*rows_table(record.rows), "", *notes(record)]) + "\n"


def rows_table(rows: Sequence[Row]) -> list[str]:
    """Return a table of rows, line by line."""
    lines = []
    for row in rows:
        low, high = (1000 * seconds for seconds in row.seconds_quartiles)
        cells = [
            shape_name(row),
            job_title(row.kind, row.weights),
            row.engine_name,
            figure(row.images_per_second),
            f"{figure(1000 * row.seconds)} ({figure(low)} to {figure(high)})",
            _number(row.gflops, ".0f"),
            _number(row.share_of_peak, ".0%"),
            *quality_cells(row),
            f"{row.resident_mb:,}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*_HEAD, *lines]


def figure(value: float) -> str:
    """Return three significant digits without an exponent: 1,320, 44.7, 0.758."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def notes(record: Record) -> list[str]:
    """Return what stands below the table: peaks, ratios, and what was left out and why."""
    peaks = ", ".join(f"{peak.gflops:.0f} in {peak.precision}" for peak in record.peaks)
    lines = [
        f"{record.threads} threads. Medians of up to {record.rounds} rounds, after a warm-up; in "
        "each round all jobs of a shape take turns. GFLOP/s count two operations for each "
        f"multiply-add; the peak is a matrix product in torch: {peaks}. JPEG, total variation and "
        "non-local means run on one thread. ResNet-50 has random weights: only its speed counts. "
        f"Each job runs in its own process; {record.torch_mb} MB of its memory are torch itself.",
    ]
    if record.ratios:
        lines += ["", *(f"- {ratio_text(ratio)}" for ratio in record.ratios)]
    reasons: dict[str, list[str]] = {}
    for left_out in record.left_out:
        names = reasons.setdefault(left_out.reason, [])
        names.append(f"{left_out.weights} {left_out.engine_name}")
    if reasons:
        lines += ["", "Left out:", ""]
        lines += [f"- {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    return lines


def ratio_text(ratio: Ratio) -> str:
    """Return a ratio as a phrase."""
    subject = f"{ratio.weights} by {ratio.engine_name}"
    if ratio.to is None:
        return f"{subject}: {ratio.value:.0%} of a matrix product's speed"
    other = f"{ratio.to.weights} by {ratio.to.engine_name}"
    return f"{subject}: {ratio.value:.3g} times as fast as {other}"


def shape_name(row: Row) -> str:
    """Return the number and size of the images."""
    count, height, width = row.size
    return f"{count} of {height}x{width}"


def quality_cells(row: Row) -> list[str]:
    """Return PSNR to float32 torch, and the share of bits that differ."""
    if row.flipped_bits is None:
        return ["–", "–"]
    psnr = "equal" if row.psnr_to_float32 is None else f"{row.psnr_to_float32:.1f}"
    return [psnr, f"{row.flipped_bits:.3%}"]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
