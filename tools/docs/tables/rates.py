"""Bits per pixel against attacks."""

from comdefend.evaluation.findings import Defense
from comdefend.evaluation.record import Record
from comdefend.evaluation.statistics import share_of, worst_case
from comdefend.report.summary import percent
from tools.docs.markdown import EMPTY, table
from tools.docs.records import evaluation, read
from tools.kept import Kept

_Column = tuple[str, str, str | None, float | None]

COLUMNS: tuple[_Column, ...] = (
    ("clean", "clean", None, None),
    *((f"BIM {eps}/255", "oblivious", "bim", eps) for eps in (2, 4, 8, 16)),
    ("BIM 8/255 made on the plain classifier", "transfer", "bim", 8),
    *((f"adaptive PGD {eps}/255", "adaptive", "pgd", eps) for eps in (2, 8)),
    ("AutoAttack 8/255", "adaptive", "autoattack", 8),
)
NESTED = "one network"
"""How the rows of a network for several rates begin."""

CLEAN_LOSS = 0.1
"""What a recommended rate may cost at most."""


def rates(name: str) -> str:
    """What each rate leaves of images, attacks and accuracy."""
    record = evaluation(name)
    columns = [c for c in COLUMNS if record.rows(threat=c[1], attack=c[2])]
    rows = [
        [
            _network(about),
            *_code_figures(about),
            *(_share(record, about.name, *column[1:]) for column in columns),
        ]
        for about in record.defenses
    ]
    head = ["", "bits per pixel", "PSNR, dB", "BIM 8/255 kept", *(column[0] for column in columns)]
    return table(head, rows)


def _network(about: Defense) -> str:
    """Return what codes the images; the rate itself has a column."""
    own = about.purifier == "trained here"
    return "own network" if own else about.purifier.partition("@")[0]


def _code_figures(about: Defense) -> list[str]:
    if about.code is None or about.psnr is None or about.bpp is None:
        return [EMPTY] * 3
    kept = next(f.kept for f in about.code.flips if (f.change, f.eps) == ("bim", 8))
    return [f"{about.bpp:g}", f"{about.psnr:.1f}", EMPTY if kept is None else percent(kept)]


def _share(record: Record, defense: str, threat: str, attack: str | None, eps: float | None) -> str:
    share = worst_case(record.rows(defense=defense, threat=threat, attack=attack, eps=eps))
    return EMPTY if share is None else percent(share.accuracy)


def choosing() -> str:
    """The rate to take for each bound: chosen on one half of the images, measured on the other."""
    record = evaluation("ladder")
    half = record.data.images // 2
    first, second = slice(None, half), slice(half, None)

    def share(
        defense: str, threat: str, attack: str | None, eps: float | None, part: slice
    ) -> float:
        row = record.row(defense=defense, threat=threat, attack=attack, eps=eps)
        return share_of(row.correct[part]).accuracy

    bpp = {d.name: d.bpp for d in record.defenses if d.name.startswith(NESTED)}
    least = share("none", "clean", None, None, first) - CLEAN_LOSS
    usable = [name for name in bpp if share(name, "clean", None, None, first) >= least]
    rows = []
    for eps in (2, 4, 8, 16):
        best = max(usable, key=lambda name: share(name, "oblivious", "bim", eps, first))
        figures = [share(best, "clean", None, None, second)]
        for threat, attack, part in (
            ("oblivious", "bim", second),
            ("adaptive", "pgd", slice(None)),
        ):
            figures += [share(name, threat, attack, eps, part) for name in (best, "none")]
        take = f'`comdefend.load("rgb-variable@{bpp[best]:g}")`'
        rows.append([f"{eps}/255", take, *map(percent, figures)])
    head = [
        "attacks within", "take", "clean", "oblivious BIM", "the same, no purifier",
        "adaptive PGD", "the same, no purifier",
    ]  # fmt: skip
    return table(head, rows, names=2)


def kept() -> str:
    """How much of which perturbation comes out of the purifier again, at each rate."""
    changes = {"random": "random signs", "bim": "oblivious", "adaptive": "adaptive"}
    head = ["bits per pixel", "PSNR, dB"]
    for what in ("kept", "passed on", "bits flipped"):
        head += [f"{what}: {title}" for title in changes.values()]
    rows = []
    for row in read(Kept, "kept").rows:
        flips = [next(f for f in row.flips if f.change == change) for change in changes]
        rows.append([
            f"{row.bpp:g}",
            f"{row.psnr:.1f}",
            *(percent(flip.kept or 0.0) for flip in flips),
            *(f"{flip.passed_on:.2f}" for flip in flips),
            *(percent(flip.share, 1) for flip in flips),
        ])  # fmt: skip
    return table(head, rows, names=0)


def kept_share(bpp: float, change: str) -> str:
    """How much of one perturbation comes out at one rate."""
    row = next(row for row in read(Kept, "kept").rows if row.bpp == bpp)
    return percent(next(flip.kept for flip in row.flips if flip.change == change) or 0.0)
