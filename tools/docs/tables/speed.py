"""What defences and engines cost, and how equal engines are."""

from comdefend.bench.tables import figure
from comdefend.report.summary import percent
from tools.attacking import Attack
from tools.defense_cost import DefenseCost
from tools.docs.markdown import EMPTY, table
from tools.docs.records import read
from tools.engine_equality import EngineRow, Engines


def attack_title(attack: Attack) -> str:
    """Return an attack with its steps and its bound."""
    return f"{attack.attack.upper()}-{attack.steps} {attack.eps:g}/255"


def speed() -> str:
    """How fast classifiers are behind each defence."""
    costs = read(DefenseCost, "defense-cost").costs
    head = ["defence"]
    for timed in costs:
        count, _, height, width = timed.shape
        head.append(f"`{timed.classifier}`, {count} of {height}x{width}: images per second")
        head.append("of undefended")
    rows = [
        [lines[0].defense, *(c for r in lines for c in (figure(r.rate), percent(r.ratio, 1)))]
        for lines in zip(*(timed.rows for timed in costs), strict=True)
    ]
    return table(head, rows)


def bfloat16() -> str:
    """What bfloat16 changes about verdicts, code and images."""
    record = read(DefenseCost, "defense-cost").bfloat16
    rows = []
    for row in record.rows:
        rows.append([
            row.defense,
            "clean" if row.images == "clean" else attack_title(record.attack),
            f"{row.changed} of {record.images}",
            f"{100 * (row.accuracy.bfloat16 - row.accuracy.float32):+.1f}",
            EMPTY if row.bits is None else percent(row.bits, 2),
            EMPTY if row.psnr is None else f"{row.psnr:.1f}",
        ])  # fmt: skip
    head = [
        "defence", "images", "verdicts that change", "accuracy, points",
        "bits of the code that change", "PSNR of the purified images, dB",
    ]  # fmt: skip
    return table(head, rows, names=2)


def engines() -> str:
    """How equal engines are to torch in float32."""
    record = read(Engines, "engines")
    head = [
        "weights", "engine", "PSNR, dB", "bits that differ", "clean", "change, points",
        attack_title(record.attack), "change, points",
    ]  # fmt: skip
    rows = [_engine_cells(row) for measured in record.sets for row in measured.rows]
    return table(head, rows, names=2)


def _engine_cells(row: EngineRow) -> list[str]:
    return [
        row.weights,
        f"{row.engine} {row.precision}",
        "equal" if row.psnr is None else f"{row.psnr:.1f}",
        percent(row.flipped_bits, 3),
        percent(row.accuracy.clean, 1),
        f"{100 * row.change.clean:+.1f}",
        percent(row.accuracy.attacked, 1),
        f"{100 * row.change.attacked:+.1f}",
    ]


def largest_change() -> str:
    """By how many points an engine moves an accuracy at most."""
    rows = [row.change for measured in read(Engines, "engines").sets for row in measured.rows]
    return f"{100 * max(abs(share) for row in rows for share in (row.clean, row.attacked)):.1f}"
