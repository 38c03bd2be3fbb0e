"""Everything that one experiment measured."""

from comdefend.evaluation.findings import Defense
from comdefend.evaluation.record import Record
from comdefend.report.markdown import adaptive_note, escape, markdown_table
from comdefend.report.summary import Column, attack_name, percent
from tools.docs.markdown import table
from tools.docs.records import evaluation


def summary(name: str) -> str:
    """Every defence under every attack; the note that all tables share stands in their README."""
    record = evaluation(name)
    return markdown_table(record).replace(adaptive_note(record), "").strip()


def attacks_through(name: str) -> str:
    """The attacks that an experiment made through its defences, with their steps."""
    made = {
        attack_name(row.attack) + (f"-{row.steps}" if row.steps else ""): None
        for row in evaluation(name).results
        if row.threat == "adaptive" and row.attack
    }
    return ", ".join(made)


def rounding(name: str) -> str:
    """Attacks whose effect changes when images are rounded to 8 bits; empty where none does."""
    rows = []
    for row in evaluation(name).results:
        if row.unrounded_accuracy is None:
            continue
        before, after = (f"{100 * share:.3g} %" for share in (row.unrounded_accuracy, row.accuracy))
        if before != after:
            column = Column(row.threat, row.attack, row.norm, row.eps)
            rows.append([escape(row.defense), column.family, column.bound, before, after])
    head = ["classifier", "attack", "bound", "as the attack left it", "rounded to 8 bits"]
    return table(head, rows, names=3) if rows else ""


def code_changes(name: str, eps: float = 8) -> str:
    """What each code lets through of BIM's perturbation and of random signs; empty without one."""
    record = evaluation(name)
    rows = [cells for about in record.defenses if (cells := _changes(record, about, eps))]
    head = [
        "purifier", "BIM: kept", "random signs: kept", "BIM: bits flipped",
        "random signs: bits flipped", "random signs: size beside BIM's",
    ]  # fmt: skip
    return table(head, rows) if rows else ""


def _changes(record: Record, about: Defense, eps: float) -> list[str]:
    flips = {f.change: f for f in (about.code.flips if about.code else ()) if f.eps == eps}
    bim, signs = flips.get("bim"), flips.get("random")
    if bim is None or signs is None or bim.kept is None or signs.kept is None:
        return []
    # Where BIM was made in several ways, the code was looked at under the first.
    row = record.rows(defense=about.name, threat="oblivious", attack="bim", eps=eps)[0]
    if row.perturbation_psnr is None:
        return []
    # Where images are black or white, random signs are cut off: they fill the bound at most.
    larger = eps / 255 * 10 ** (row.perturbation_psnr / 20)
    return [
        escape(about.name),
        percent(bim.kept),
        percent(signs.kept),
        percent(bim.share, 1),
        percent(signs.share, 1),
        f"up to {larger:.1f} times",
    ]
