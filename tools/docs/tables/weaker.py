"""What weaker attacks leave, beside the usual one."""

from comdefend.evaluation.statistics import worst_case
from comdefend.report.markdown import escape
from comdefend.report.summary import attack_name, percent
from tools.docs.markdown import table
from tools.docs.records import evaluation

EPS = 8


def weaker(name: str) -> str:
    """One line for each attack on the bare classifier, and one of those through the defences."""
    record = evaluation(name)
    names = record.defense_names
    shown = [
        row
        for row in record.rows(defense=names[0])
        if row.threat in ("oblivious", "transfer") and row.eps in (EPS, None)
    ]
    lines = []
    for row in sorted(shown, key=lambda row: (row.eps is None, row.threat == "transfer")):
        query = {"threat": row.threat, "attack": row.attack, "eps": row.eps, "variant": row.variant}
        shares = [percent(record.row(defense=defense, **query).accuracy) for defense in names]
        title = ", ".join(part for part in (attack_name(str(row.attack)), row.variant) if part)
        lines.append([escape(title), *shares, f"{row.images}"])
    through = [
        share
        for defense in names
        if (share := worst_case(record.rows(defense=defense, threat="adaptive", eps=EPS)))
    ]
    figures = [f"**{percent(share.accuracy)}**" for share in through]
    lines.append(["**through the defence: the worst of all**", *figures, f"{through[-1].images}"])
    return table(["attack", *map(escape, names), "images"], lines)
