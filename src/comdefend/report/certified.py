"""A certification in Markdown, for a terminal and for a notebook."""

from rich.console import Console
from rich.markdown import Markdown

from comdefend.certification.record import CertificationRecord, Level
from comdefend.evaluation.statistics import Share
from comdefend.report import pages
from comdefend.report.markdown import escape, table_row
from comdefend.report.summary import percent


def certificate_table(record: CertificationRecord) -> str:
    """Return a certification in Markdown: a row for each radius, then what is proven."""
    head, *rows = level_rows(record)
    lines = [table_row(head), table_row(["---", *("---:" for _ in head[1:])])]
    lines += [table_row(row) for row in rows]
    return "\n\n".join(["\n".join(lines), *map(escape, notes(record))]) + "\n"


def level_rows(record: CertificationRecord) -> list[list[str]]:
    """Return the heading and a row for each radius, as texts."""
    head = ["L2 radius", "covers in L∞", f"certified, of {record.data.images}"]
    if count := len(record.attacked):
        head += [f"certified, of {count}", f"attacked, of {count}", "classifier alone, attacked"]
    return [head, *([*_about(level), *_attacked(level)] for level in record.levels)]


def notes(record: CertificationRecord) -> list[str]:
    """Return what the table stands on, and what is proven."""
    asked = record.settings
    counted = (
        f"sigma {asked.sigma:g}, n0 {asked.n0}, n {asked.n:,}, alpha {asked.alpha:g}, seed "
        f"{asked.seed}: {record.abstained} of {record.data.images} images got no answer, "
        f"{record.stopped} of them were given up early. Mean radius {record.mean_radius:.3f}, a "
        f"wrong or missing answer counting as 0; n allows {record.largest_radius:.3f} at most. In "
        "brackets behind a share: its 95 % interval."
    )
    found = [counted, record.proven]
    if record.attacked:
        found.append(
            f"Attacked: the first {len(record.attacked)} of the images, adaptively, by L2 PGD of "
            f"{record.steps} steps, each the mean over {record.draws} draws of noise, straight "
            f"through the purifier's threshold, and answered by the majority of {record.judged:,} "
            "draws; an abstention counts as wrong. What is left there above the certified accuracy "
            "is the price of a proof, or the weakness of the attack."
        )
    if record.contradicted:
        found.append(
            f"WARNING: an attack within the certified radius changed the answer of "
            f"{record.contradicted} of the {len(record.attacked)} attacked images; beyond chance "
            "this must not happen."
        )
    return found


def certificate_text(record: CertificationRecord) -> str:
    """Return a certification as text without colours, as wide as the terminal."""
    console = Console(
        color_system=None, force_jupyter=False, highlight=False, markup=False, emoji=False
    )
    with console.capture() as capture:
        console.print(Markdown(certificate_table(record)))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def certificate_html(record: CertificationRecord) -> str:
    """Return a certification as HTML, in the colours of the notebook around it."""
    head, *rows = level_rows(record)
    return pages.render("certified-notebook.html", head=head, rows=rows, notes=notes(record))


def _about(level: Level) -> list[str]:
    return [f"{level.radius:g}", f"{level.linf:.2f}/255", _share(level.certified)]


def _attacked(level: Level) -> list[str]:
    return [_share(each) for each in (level.compared, level.smoothed, level.bare) if each]


def _share(share: Share) -> str:
    return f"{percent(share.accuracy)} ({100 * share.low:.0f} to {100 * share.high:.0f})"
