"""Defences that differ in one field: what it does to the code, and image by image to accuracy."""

from collections.abc import Sequence

from comdefend.evaluation.findings import Defense
from comdefend.evaluation.record import ANY, Record
from comdefend.evaluation.statistics import Comparison, compare
from comdefend.report.summary import percent
from tools.docs.figures import p_value, share_of
from tools.docs.markdown import EMPTY, table
from tools.docs.records import evaluation

_ACCURACIES = (("clean", None, None), ("oblivious", "bim", 8), ("adaptive", "pgd", 8))


def ablation(name: str, field: str) -> str:
    """What one field of the recipe does to code, image and accuracy."""
    record = evaluation(name)
    head = [
        field, "\\|z\\| median", "\\|z\\| 5 %", "ones", "PSNR, dB", "bits flipped: BIM 8/255",
        "random 8/255", "BIM 8/255 passed on", "kept", "clean", "BIM 8/255", "adaptive 8/255",
    ]  # fmt: skip
    rows = []
    for about in record.defenses:
        value = about.name.removeprefix(f"{field} ")
        accuracies = [
            percent(
                share_of(record.rows(defense=about.name, threat=threat, attack=attack, eps=eps))
            )
            for threat, attack, eps in _ACCURACIES
        ]
        rows.append(
            ["no purifier" if value == "none" else value, *_code_figures(about), *accuracies]
        )
    measured = [column for column in range(len(head)) if any(r[column] != EMPTY for r in rows)]
    return table([head[c] for c in measured], [[row[c] for c in measured] for row in rows])


def _code_figures(about: Defense) -> list[str]:
    if about.code is None or about.psnr is None:
        return [EMPTY] * 8
    quantiles = dict(zip(about.code.quantiles, about.code.abs_z_quantiles, strict=True))
    flips = {flip.change: flip for flip in about.code.flips if flip.eps == 8}
    bim = flips["bim"]
    return [
        f"{quantiles[0.5]:.1f}",
        f"{quantiles[0.05]:.2f}",
        percent(about.code.ones),
        f"{about.psnr:.1f}",
        percent(bim.share, 1),
        percent(flips["random"].share, 1),
        f"{bim.passed_on:.2f}",
        EMPTY if bim.kept is None else percent(bim.kept),
    ]


def paired(name: str, field: str, *bases: str) -> str:
    """Compare each base with every defence after it, on the images that both were attacked on."""
    record = evaluation(name)
    names = {about.name.removeprefix(f"{field} "): about.name for about in record.defenses}
    columns: list[tuple[str, str, object, float | None]] = [("clean", "clean", None, None)]
    columns += [(f"BIM {eps}/255", "oblivious", "bim", eps) for eps in (2, 8, 16)]
    columns += [(f"adaptive {eps}/255", "adaptive", ANY, eps) for eps in (2, 8, 16)]
    lines: dict[str, list[Comparison]] = {}
    for base in bases:
        for value in list(names)[list(names).index(base) + 1 :]:
            lines[f"{base} to {value}"] = [
                _compared(record, (names[base], names[value]), threat, attack, eps)
                for _, threat, attack, eps in columns
            ]
    tests = [cell.p_value for cells in lines.values() for cell in cells]
    level = holm(tests)
    rows = [[title, *(_cell(cell, level) for cell in cells)] for title, cells in lines.items()]
    alone, kept = sum(p < 0.05 for p in tests), sum(p <= level for p in tests)
    return "\n\n".join([
        table([field, *(title for title, *_ in columns)], rows),
        f"Of {len(tests)} comparisons, p < 0.05 taken alone: {alone}; for the table as a whole "
        f"(bold): {kept}.",
    ])  # fmt: skip


def _compared(
    record: Record, names: Sequence[str], threat: str, attack: object, eps: float | None
) -> Comparison:
    query: dict[str, object] = {"threat": threat, "attack": attack, "eps": eps}
    before, after = (record.rows(defense=name, **query) for name in names)  # type: ignore[arg-type]
    return compare(before, after)


def _cell(cell: Comparison, level: float) -> str:
    shares = [percent(count / cell.images) for count in (cell.before, cell.after)]
    p = p_value(cell.p_value).removeprefix("= ")
    text = f"{shares[0]} to {shares[1]} ({cell.lost}:{cell.won}), p {p}"
    return f"**{text}**" if cell.p_value <= level else text


def holm(tests: Sequence[float], level: float = 0.05) -> float:
    """Return the largest p-value that Holm's procedure keeps (Holm 1979), or less than any."""
    kept = -1.0
    for index, p in enumerate(sorted(tests)):
        if p > level / (len(tests) - index):
            break
        kept = p
    return kept
