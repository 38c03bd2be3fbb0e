"""Fill the tables of the documents from records: ``python tools/update_docs.py``.

A table stands between ``<!-- table: NAME ARGUMENTS -->`` and ``<!-- end -->``. A test holds the
documents and the records together.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comdefend
from comdefend.bench import tables as bench_tables
from comdefend.bench.figures import FIGURES
from comdefend.bench.jobs import BASELINE, PHOTO
from comdefend.bench.ratios import fastest, size_of
from comdefend.evaluation.record import load_record_file
from comdefend.evaluation.report import render_report
from comdefend.evaluation.tables import markdown_table, percent

ROOT = Path(__file__).parent.parent
DOCUMENTS = (
    "README.md",
    "docs/noise.md",
    "docs/performance.md",
    "docs/results.md",
    "docs/training.md",
)
REPORTS = ("cifar10-small",)
NO_BENCH = "Not run yet: `comdefend bench --output bench/`."
NO_EQUALITY = "Not run yet: `python tools/engine_equality.py`."
NOT_TIMED = "Not run yet: `python tools/defense_cost.py`."


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


def decay_table() -> list[str]:
    """What weight decay does to a purifier's training, from four runs."""
    record = _read("docs/records/weight-decay.json")
    lines = ["| weight decay | PSNR, dB | mean \\|z\\| |", "| ---: | ---: | ---: |"]
    for row in record["rows"]:
        lines.append(
            f"| {row['weight_decay']:g} | {row['validation_psnr']:.2f} | {row['abs_z']:g} |"
        )
    recipe = record["recipe"]
    widths = recipe["network"]["encoder_widths"]
    return [
        *lines,
        "",
        f"`{recipe['data']}`, widths {widths}, {recipe['steps']:,} steps; {record['measured_on']}. "
        "The runs: [weight-decay.json](records/weight-decay.json).",
    ]


def results_table(experiment: str, profile: str = "small") -> list[str]:
    """What an experiment measured, or that it has not been run."""
    name = f"{experiment}-{profile}"
    command = f"`comdefend reproduce {experiment} --profile {profile}`"
    if not (ROOT / f"docs/records/{name}.json").is_file():
        return [f"Not run yet: {command}."]
    record = load_record_file(ROOT / f"docs/records/{name}.json")
    data, checks = record["data"], record["checks"]
    failed = [c for c in checks if c["passed"] is False]
    lines = [
        *markdown_table(record).strip().splitlines(),
        "",
        f"{data['images']} images of `{data['source']}` (test, sample of seed {data['seed']}), "
        f"classifier `{record['classifier']}`, seed {record['seed']}, rounded to 8 bits. "
        f"{command}; {_links(name)}. "
        f"{sum(c['passed'] is True for c in checks)} of {len(checks)} sanity checks hold"
        + (":" if failed else "."),
    ]
    for check in failed:
        lines += ["", f"- does not hold: {check['name']} ({check['detail']})"]
    return [*lines, *_kept(record)]


def _kept(record: dict[str, Any]) -> list[str]:
    """Say what each code keeps of the usual attack's perturbation, and of a random one."""
    lines = []
    for about in record["defenses"]:
        flips = {f["change"]: f for f in (about["code"] or {}).get("flips", []) if f["eps"] == 8}
        if all("kept" in flip for flip in flips.values()) and {"bim", "random"} <= set(flips):
            bim, random = flips["bim"], flips["random"]
            lines += [
                "",
                f"`{about['name']}` at 8/255: of BIM's perturbation {percent(bim['kept'])} comes "
                f"out again (projected on what went in), of a random one as large "
                f"{percent(random['kept'])}; {percent(bim['share'], 1)} and "
                f"{percent(random['share'], 1)} of the bits flip.",
            ]
    return lines


def ablation_table(experiment: str, field: str) -> list[str]:
    """What one field of the recipe does to code, image and accuracy, from its experiment."""
    if not (ROOT / f"docs/records/{experiment}-small.json").is_file():
        return [f"Not run yet: `comdefend reproduce {experiment}`."]
    record = load_record_file(ROOT / f"docs/records/{experiment}-small.json")
    # Records made before it was measured do not say what is kept of a perturbation.
    flips = [
        flip for about in record["defenses"] for flip in (about["code"] or {}).get("flips", [])
    ]
    measured = all("kept" in flip for flip in flips)
    lines = [
        f"| {field} | \\|z\\| median | \\|z\\| 5 % | ones | PSNR, dB | bits flipped: BIM 8/255 "
        "| at random 8/255 | BIM 8/255 passed on "
        f"{'| kept ' * measured}| clean | BIM 8/255 | adaptive 8/255 |",
        "| ---: " * (11 + measured) + "|",
    ]
    for about in record["defenses"]:
        rows = [r for r in record["rows"] if r["defense"] == about["name"]]
        figures = ["–"] * (7 + measured)
        if code := about["code"]:
            quantiles = dict(zip(code["quantiles"], code["abs_z_quantiles"], strict=True))
            flips = {flip["change"]: flip for flip in code["flips"] if flip["eps"] == 8}
            figures = [
                f"{quantiles[0.5]:.1f}",
                f"{quantiles[0.05]:.2f}",
                percent(code["ones"]),
                f"{about['psnr']:.1f}",
                percent(flips["bim"]["share"], 1),
                percent(flips["random"]["share"], 1),
                f"{flips['bim']['passed_on']:.2f}",
                *([percent(flips["bim"]["kept"])] if measured else []),
            ]
        accuracies = [
            percent(row["accuracy"])
            for wanted in (("clean", None, None), ("oblivious", "bim", 8), ("adaptive", "pgd", 8))
            for row in rows
            if (row["threat"], row["attack"], row["eps"]) == wanted
        ]
        value = about["name"].removeprefix(f"{field} ")
        name = "no purifier" if value == "none" else value
        lines.append(f"| {' | '.join([name, *figures, *accuracies])} |")
    data, failed = record["data"], [c for c in record["checks"] if c["passed"] is False]
    lines += [
        "",
        f"{data['images']} test images of `{data['source']}`, the first "
        f"{record['experiment']['adaptive'][0]['images']} of them attacked adaptively, classifier "
        f"`{record['classifier']}`, seed {record['seed']}; the record is "
        f"[{experiment}-small.json](records/{experiment}-small.json), made by "
        f"`comdefend reproduce {experiment}`.",
    ]
    for check in failed:
        lines += ["", f"- does not hold: {check['name']} ({check['detail']})"]
    return lines


def speed_table() -> list[str]:
    """How fast classifiers are behind each defence, from a timed run."""
    if (record := _optional("defense-cost")) is None:
        return [NOT_TIMED]
    columns = ["defence"]
    for timed in record["costs"]:
        count, _, height, width = timed["shape"]
        columns.append(f"`{timed['classifier']}`, {count} of {height}x{width}: images a second")
        columns.append("of undefended")
    lines = [f"| {' | '.join(columns)} |", f"| ---{' | ---:' * (len(columns) - 1)} |"]
    for rows in zip(*(timed["rows"] for timed in record["costs"]), strict=True):
        figures = [f"{row['rate']:.3g} | {percent(row['ratio'], 1)}" for row in rows]
        lines.append(f"| {' | '.join([rows[0]['defense'], *figures])} |")
    return [
        *lines,
        "",
        f"In float32; medians of {record['costs'][0]['rounds']} rounds, in which all take turns. "
        f"{_machine(record)}; [record](records/defense-cost.json), made by "
        "`python tools/defense_cost.py`.",
    ]


def bfloat16_table() -> list[str]:
    """What bfloat16 changes, from the same run."""
    if (record := _optional("defense-cost")) is None:
        return [NOT_TIMED]
    found = record["bfloat16"]
    attack, count, rows = found["attack"], found["images"], found["rows"]
    lines = [
        "| defence | images | verdicts that change | accuracy, points "
        "| bits of the code that change | PSNR of the purified images, dB |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        gain = 100 * (row["accuracy"]["bfloat16"] - row["accuracy"]["float32"])
        shown = f"{attack['attack'].upper()}-{attack['steps']} {attack['eps']}/255"
        figures = [f"{row['changed']} of {count}", f"{gain:+.1f}"]
        figures += [percent(row["bits"], 2), f"{row['psnr']:.1f}"] if "bits" in row else ["–"] * 2
        images = "clean" if row["images"] == "clean" else shown
        lines.append(f"| {' | '.join([row['defense'], images, *figures])} |")
    changed = sum(row["changed"] for row in rows)
    speeds = [
        f"{speed['bfloat16']:.0f} images a second instead of {speed['float32']:.0f} "
        f"({speed['defense']}, {speed['ratio']:.2f} times)"
        for speed in found["speeds"]
    ]
    return [
        *lines,
        "",
        f"{changed} of {len(rows) * count:,} verdicts change, so evaluations stay in float32."
        if changed
        else f"None of {len(rows) * count:,} verdicts changes, so evaluations may run in bfloat16.",
        f"The speed in bfloat16: {' and '.join(speeds)}, {found['batch']} images at once.",
        "",
        f"{count} images of `{found['data']}` (test, sample of seed {found['seed']}), classifier "
        f"`{found['classifier']}`; the attack is oblivious, made in float32 and rounded to 8 bits. "
        f"{_machine(record)}; [record](records/defense-cost.json), with the accuracies themselves.",
    ]


def bench_table() -> list[str]:
    """Everything that a run of the benchmark measured."""
    if (record := _optional("bench")) is None:
        return [NO_BENCH]
    return [
        *bench_tables.rows_table(record["rows"]),
        "",
        *bench_tables.notes(record),
        "",
        f"{_machine(record)}; [record](records/bench.json), made by `comdefend bench`.",
    ]


def short_bench_table() -> list[str]:
    """One image of 224x224: each by the fastest engine, and purifiers by plain torch too."""
    if (record := _optional("bench")) is None:
        return [NO_BENCH]
    rows = [row for row in record["rows"] if size_of(row) == PHOTO]
    lines = [
        "| | by | milliseconds | resident, MB |",
        "| --- | --- | ---: | ---: |",
    ]
    for name in dict.fromkeys(row["weights"] for row in rows):
        best = fastest(rows, name, PHOTO)
        for row in rows:
            plain = row["kind"] == "purifier" and (row["engine"], row["precision"]) == BASELINE
            if row["weights"] == name and (row is best or plain):
                lines.append(
                    f"| {name} | {bench_tables.engine_name(row)} | {1000 * row['seconds']:.3g} "
                    f"| {row['resident_mb']:,} |"
                )
    return [
        *lines,
        "",
        f"One image of 224x224. {_machine(record)}. All engines, sizes and memory, and how it is "
        "measured: [docs/performance.md](docs/performance.md).",
    ]


def bench_figures() -> list[str]:
    """The benchmark's figures, where it has been run."""
    if _optional("bench") is None:
        return [NO_BENCH]
    return [
        "![Time of one image against its area](bench-area.svg)",
        "",
        "![Time of an image against the number of images in the batch](bench-batch.svg)",
    ]


def engines_table() -> list[str]:
    """How equal engines are to float32 torch."""
    if (record := _optional("engines")) is None:
        return [NO_EQUALITY]
    attack = record["attack"]
    shown = f"{attack['attack'].upper()}-{attack['steps']} {attack['eps']}/255"
    lines = [
        f"| weights | engine | PSNR, dB | bits that differ | clean | change, points | {shown} "
        "| change, points |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for found in record["sets"]:
        for row in found["rows"]:
            figures = [
                figure
                for kind in ("clean", "attacked")
                for figure in (
                    percent(row["accuracy"][kind], 1),
                    f"{100 * row['change'][kind]:+.1f}",
                )
            ]
            cells = [
                row["weights"],
                bench_tables.engine_name(row),
                "equal" if row["psnr"] is None else f"{row['psnr']:.1f}",
                percent(row["flipped_bits"], 3),
                *figures,
            ]
            lines.append(f"| {' | '.join(cells)} |")
    sets = " and ".join(
        f"{found['images']} test images of `{found['data']}` with `{found['classifier']}`"
        for found in record["sets"]
    )
    return [
        *lines,
        "",
        f"Against float32 torch, on {sets}. The attack is oblivious: made once on the bare "
        f"classifier, seed {record['seed']}, rounded to 8 bits. It says nothing of an attacker who "
        f"knows of the purifier: see [results.md](results.md). {_machine(record)}; "
        "[record](records/engines.json), made by `python tools/engine_equality.py`.",
    ]


TABLES: dict[str, Callable[..., list[str]]] = {
    "bench": bench_table,
    "bench-figures": bench_figures,
    "bench-short": short_bench_table,
    "demo": demo_table,
    "engines": engines_table,
    "weights": weights_table,
    "cost": cost_table,
    "decay": decay_table,
    "ablation": ablation_table,
    "results": results_table,
    "speed": speed_table,
    "bfloat16": bfloat16_table,
}


def filled(text: str) -> str:
    """Return a document with its tables made anew."""

    def fill(match: re.Match[str]) -> str:
        name, *arguments = match[1].split()
        lines = TABLES[name](*arguments)
        return "\n".join([f"<!-- table: {match[1]} -->", "", *lines, "", "<!-- end -->"])

    return re.sub(r"<!-- table: ([\w -]+?) -->.*?<!-- end -->", fill, text, flags=re.DOTALL)


def _links(name: str) -> str:
    """Return links to a record, and to its report where that is among the documents."""
    report = f", [report](reports/{name}.html)" if name in REPORTS else ""
    return f"[record](records/{name}.json){report}"


def report_of(name: str) -> str:
    """Return the report of a record: without example images, which may not be ours to give."""
    return render_report(load_record_file(ROOT / f"docs/records/{name}.json"))


def figures() -> dict[Path, str]:
    """Return the benchmark's figures by their files, where it has been run."""
    record = _optional("bench")
    return {
        ROOT / f"docs/{name}.svg": draw(record)
        for name, draw in FIGURES.items()
        if record is not None
    }


def _optional(name: str) -> dict[str, Any] | None:
    path = f"docs/records/{name}.json"
    return _read(path) if (ROOT / path).is_file() else None


def _machine(record: dict[str, Any]) -> str:
    native = any("bf16" in flag for flag in record["flags"])
    return (
        f"{record['threads']} threads, {record['architecture']} with {record['vectors']}, bfloat16 "
        f"{'in hardware' if native else 'emulated'}, torch {record['versions']['torch']}"
    )


def _read(path: str) -> dict[str, Any]:
    return json.loads((ROOT / path).read_text())


if __name__ == "__main__":
    for document in DOCUMENTS:
        path = ROOT / document
        path.write_text(filled(path.read_text()))
    for name in REPORTS:
        (ROOT / f"docs/reports/{name}.html").write_text(report_of(name))
    for path, text in figures().items():
        path.write_text(text)
