"""Fill the tables of the documents from records: ``python tools/update_docs.py``.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``. A test holds the documents and
the records together.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comdefend

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("README.md", "docs/training.md")


def demo_table() -> list[str]:
    """Accuracies of the demo, from its record."""
    record = _read("docs/demo/record.json")
    lines = [
        "| images | classifier, purifier | attack | clean | clean, purified | attacked | defended "
        "| adaptive |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in record["rows"]:
        attack = row["attack"].upper() + (f"-{row['steps']}" if row["steps"] > 1 else "")
        names = [f"{row['images']} {row['data']}", f"{row['classifier']}, {row['purifier']}"]
        keys = ("clean", "clean_defended", "attacked", "defended", "adaptive")
        lines.append(f"| {' | '.join([*names, attack, *(f'{row[k]:.0%}' for k in keys)])} |")
    lines += [
        "",
        f"Adaptive: {record['rows'][0]['adaptive_attack']}; on "
        f"{record['rows'][0]['adaptive_images']} images at most. PGD takes steps of eps/4 from a "
        f"random start, seed {record['seed']}. Made by `make demo`; the record is "
        "[docs/demo/record.json](docs/demo/record.json).",
    ]
    return lines


def weights_table() -> list[str]:
    """What the shipped weights measured on the test images, from their training records."""
    lines = [
        "| purifier | trained on | bits a pixel | PSNR, dB | of the mean squared error | SSIM |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name in comdefend.weights():
        record = comdefend.load_record(name)
        fidelity = record["fidelity"]
        lines.append(
            f"| `{name}` | {record['recipe']['data']} | {record['bpp']:g} | {fidelity['psnr']:.2f} "
            f"| {fidelity['pooled_psnr']:.2f} | {fidelity['ssim']:.3f} |"
        )
    lines += ["", "| classifier | parameters | clean accuracy |", "| --- | ---: | ---: |"]
    for name in comdefend.classifier_weights():
        record = comdefend.load_record(name)
        lines.append(f"| `{name}` | {record['parameters']:,} | {record['accuracy']:.2%} |")
    lines += ["", "All on the 10,000 test images of their data set."]
    return lines


def cost_table() -> list[str]:
    """What an epoch costs, from a timed run."""
    record = _read("docs/records/training-cost.json")
    lines = ["| recipe | machine | steps a second | an epoch | the whole |"]
    lines.append("| --- | --- | ---: | ---: | ---: |")
    for row in record["rows"]:
        epoch, whole = row["epoch_steps"] / row["rate"], row["steps"] / row["rate"]
        lines.append(
            f"| `{row['recipe']}` | {row['machine']} | {row['rate']:.1f} | {epoch:.0f} s "
            f"| {whole / 60:.0f} min |"
        )
    return lines


TABLES: dict[str, Callable[[], list[str]]] = {
    "demo": demo_table,
    "weights": weights_table,
    "cost": cost_table,
}


def filled(text: str) -> str:
    """Return a document with its tables made anew."""

    def fill(match: re.Match[str]) -> str:
        lines = TABLES[match[1]]()
        return "\n".join([f"<!-- table: {match[1]} -->", "", *lines, "", "<!-- end -->"])

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- end -->", fill, text, flags=re.DOTALL)


def _read(path: str) -> dict[str, Any]:
    return json.loads((ROOT / path).read_text())


if __name__ == "__main__":
    for document in DOCUMENTS:
        path = ROOT / document
        path.write_text(filled(path.read_text()))
