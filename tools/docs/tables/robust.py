"""Purifiers, classifiers and pairs that were trained against attacks."""

from comdefend.evaluation.statistics import compare, worst_case
from comdefend.report.markdown import corruptions
from comdefend.report.summary import show
from tools.docs.figures import outcome
from tools.docs.markdown import table
from tools.docs.records import evaluation

COLUMNS: tuple[tuple[str, str, str | None, float | None], ...] = (
    ("clean", "clean", None, None),
    ("BIM 8/255", "oblivious", "bim", 8),
    ("BIM 8/255 made on the plain classifier", "transfer", "bim", 8),
    ("adaptive PGD 2/255", "adaptive", "pgd", 2),
    ("adaptive PGD 8/255", "adaptive", "pgd", 8),
    ("adaptive PGD 16/255", "adaptive", "pgd", 16),
    ("AutoAttack 8/255", "adaptive", "autoattack", 8),
    ("C&W, adaptive", "adaptive", "cw", None),
    ("Square 8/255", "query", "square", 8),
)


def robust(name: str) -> str:
    """What training against attacks leaves."""
    record = evaluation(name)
    corrupted = corruptions(record)
    changes = list(next(iter(corrupted.values()), {}))
    columns = [c for c in COLUMNS if record.rows(threat=c[1], attack=c[2], eps=c[3])]
    rows = []
    for defense in record.defense_names:
        cells = []
        for _, threat, attack, eps in columns:
            found = record.rows(defense=defense, threat=threat, attack=attack, eps=eps)
            if threat == "transfer" and not found:
                # This row's own classifier is the plain one, on which the attack was made.
                found = record.rows(defense=defense, threat="oblivious", attack=attack, eps=eps)
            cells.append(show(worst_case(found), 1 if attack == "autoattack" else 0))
        cells += [show(corrupted[defense].get(change)) for change in changes]
        rows.append([defense, *cells])
    return table(["", *(title for title, *_ in columns), *changes], rows)


def robust_pairs(name: str, eps: float = 8) -> str:
    """Compare the rows of `robust` under the worst of all attacks within a bound."""
    record = evaluation(name)
    names = record.defense_names
    pairs = [("none", "purifier alone"), *((other, "both") for other in names if other != "both")]
    rows = []
    for before, after in pairs:
        change = compare(*(
            record.rows(defense=defense, threat="adaptive", eps=eps) for defense in (before, after)
        ))  # fmt: skip
        shares = [f"{100 * count / change.images:.0f} %" for count in (change.before, change.after)]
        rows.append([f"{before} to {after}", " to ".join(shares), outcome(change)])
    head = ["", f"worst of all attacks within {eps:g}/255", "image by image"]
    return table(head, rows, names=3)
