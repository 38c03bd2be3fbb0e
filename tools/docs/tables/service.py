"""What the HTTP service does under load."""

from statistics import median

from tools.docs.markdown import table
from tools.docs.records import read
from tools.service_load import ServiceLoad


def service_load() -> ServiceLoad:
    """Return the record."""
    return read(ServiceLoad, "service-load")


def service_throughput() -> str:
    """Return images a second in each format."""
    rows = [
        [
            f"{row.format.upper()} in and out",
            f"{row.batch:.1f}",
            f"{median(row.service):.1f}",
            f"{median(row.engine):.1f}",
            f"{100 * row.ratio:.0f} %",
            f"{100 * row.cpu_ratio:.0f} %",
        ]
        for row in service_load().throughput
    ]
    head = (
        "images",
        "at once",
        "service, a second",
        "engine alone, a second",
        "ratio",
        "by processor time",
    )
    return table(head, rows)


def service_soak() -> str:
    """Return what became of mixed requests."""
    soak = service_load().soak
    answers = {
        kind: ", ".join(f"{count:,} of {status}" for status, count in sorted(of_kind.items()))
        for kind, of_kind in soak.statuses.items()
        if kind != "broken off"
    }
    grown = (soak.resident_after - soak.resident_before) / 1e6
    return (
        f"Good images: {soak.images_per_second:.1f} a second, answered within {soak.p50:.2f} s "
        f"(median), {soak.p95:.2f} s (95 %) and {soak.p99:.2f} s (99 %). The server's memory went "
        f"from {soak.resident_before / 1e6:.0f} MB after the first quarter by {grown:+.0f} MB. "
        "Statuses: " + "; ".join(f"{kind}: {answers[kind]}" for kind in sorted(answers)) + "."
    )
