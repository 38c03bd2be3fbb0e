"""Fill the tables of the documents from records: ``python tools/update_docs.py``.

A table stands between ``<!-- table: NAME ARGUMENTS -->`` and ``<!-- end -->``. A test holds the
documents and the records together.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import comdefend
from comdefend.bench import tables as bench_tables
from comdefend.bench.figures import FIGURES
from comdefend.bench.jobs import BASELINE, PHOTO
from comdefend.bench.ratios import fastest, size_of
from comdefend.bench.tables import figure
from comdefend.evaluation.record import load_record_file, mcnemar
from comdefend.report.html import render_report
from comdefend.report.summary import (
    Column,
    Record,
    attack_name,
    combine,
    corruptions,
    markdown_table,
    percent,
    select,
    show,
    survivors,
)

ROOT = Path(__file__).parent.parent
DOCUMENTS = (
    "README.md",
    "docs/choosing.md",
    "docs/noise.md",
    "docs/performance.md",
    "docs/rates.md",
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
        "| images | attacked classifier | defence | attack | clean | clean, defended | attacked "
        "| defended | adaptive |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in record["rows"]:
        attack = row["attack"].upper() + (f"-{row['steps']}" if row["steps"] > 1 else "")
        names = [f"{row['images']} {row['data']}", row["classifier"], row["defense"]]
        keys = ("clean", "clean_defended", "attacked", "defended", "adaptive")
        shares = [f"{row[key]:.0%}" for key in keys]
        if row["adaptive_images"] != row["images"]:
            shares[-1] += f" ({row['adaptive_images']})"
        lines.append(f"| {' | '.join([*names, attack, *shares])} |")
    lines += [
        "",
        f"Adaptive: {record['rows'][0]['adaptive_attack']}; in brackets the number of images, "
        f"where it is not all. {_same_images('fashion-mnist', 'gray-4bpp', 8)} PGD takes steps of "
        "eps/4 from a "
        f"random start, seed {record['seed']}. Made by `make demo`; the record is "
        "[docs/demo/record.json](docs/demo/record.json).",
    ]
    return lines


def _same_images(experiment: str, name: str, eps: float) -> str:
    """Say what is left of a classifier with and without a purifier, on the same images."""
    record = load_record_file(ROOT / f"docs/records/{experiment}-small.json")
    bare, defended, lost, won = _compared(record, ["none", name], "adaptive", None, eps)
    (count,) = {row["images"] for row in select(record, name, "adaptive") if row["eps"] == eps}
    return (
        "*Attacked* is not what to hold *adaptive* against: neither the images nor the attacks are "
        f"the same. On the same {count} images, each by the worst of all attacks within "
        f"{eps:g}/255, {bare} are classified rightly without a purifier and {defended} behind "
        f"`{name}` ({lost} lost, {won} won, p {_p_value(mcnemar(lost, won))} by McNemar's exact "
        f"test; [record](docs/records/{experiment}-small.json))."
    )


def weights_table() -> list[str]:
    """What the shipped weights measured on the test images, from their training records."""
    lines = [
        "| purifier | trained on | bits a pixel | PSNR, dB | of the mean squared error | SSIM |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name in comdefend.weights():
        record = comdefend.load_record(name)
        fidelity, recipe = record["fidelity"], record["recipe"]
        against = ", against attacks" if recipe["kind"] == "defense" else ""
        lines.append(
            f"| `{name}` | {recipe['data']}{against} | {record['bpp']:g} | {fidelity['psnr']:.2f} "
            f"| {fidelity['pooled_psnr']:.2f} | {fidelity['ssim']:.3f} |"
        )
    lines += ["", "| classifier | parameters | clean accuracy |", "| --- | ---: | ---: |"]
    for name in comdefend.classifier_weights():
        record = comdefend.load_record(name)
        # A pair's two files carry one and the same record.
        behind = [p for p in comdefend.weights() if comdefend.load_record(p) == record]
        title = f"`{behind[0]}` and `{name}`" if behind else f"`{name}`"
        lines.append(f"| {title} | {record['parameters']:,} | {record['accuracy']:.2%} |")
    for name in comdefend.weights():
        record = comdefend.load_record(name)
        # Trained before a classifier that stayed as it is.
        if record["recipe"].get("trained") == "purifier":
            title = f"`{name}` and `{record['recipe']['classifier']}`"
            lines.append(f"| {title} | {record['parameters']:,} | {record['accuracy']:.2%} |")
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


def distillation_table() -> list[str]:
    """What became of the lite network in each of its trainings."""
    record = _read("docs/records/distillation.json")
    lines = [
        "| | steps | crop | phi | weight of the code | bits that are the teacher's | PSNR, dB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in record["rows"]:
        lines.append(
            f"| {row['name']} | {row['steps']:,} | {row['crop']} | {row['phi']:g} "
            f"| {row['teaching']:g} | {percent(row['same_bits'], 1)} "
            f"| {row['validation_psnr']:.2f} |"
        )
    return [
        *lines,
        "",
        f"Teacher `{record['teacher']}`; {record['measured_on']}; one run each, seed 0, "
        f"{record['machine']}. [Record](records/distillation.json).",
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
    return [*lines, *_rounding(record), *_kept(record)]


def _rounding(record: Record) -> list[str]:
    """Say under which attacks rounding to 8 bits changes the accuracy of a bare classifier."""
    found: dict[str, list[str]] = {}
    count = 0
    for row in record["rows"]:
        if row["unrounded_accuracy"] is None:
            continue
        count += 1
        before, after = (f"{100 * row[key]:.3g} %" for key in ("unrounded_accuracy", "accuracy"))
        if before != after:
            column = Column(row["threat"], row["attack"], row["norm"], row["eps"])
            name = "" if row["defense"] == "none" else f"`{row['defense']}`, "
            found.setdefault(name + column.family, []).append(
                f"from {before} to {after} ({column.bound})"
            )
    if not count:
        return []
    changes = [f"{name} {', '.join(shares)}" for name, shares in found.items()]
    number = sum(map(len, found.values()))
    return [
        "",
        f"Accuracy without rounding is recorded for {count} attacks on classifiers without a "
        f"purifier. Rounding changes the accuracy under {number or 'none'} of them"
        + (f": {'; '.join(changes)}." if changes else ".")
        + " All others, every adaptive one among them, are scored rounded only.",
    ]


def _kept(record: Record) -> list[str]:
    """Say what each code keeps of the usual attack's perturbation, and of random signs."""
    lines = []
    for about in record["defenses"]:
        flips = {f["change"]: f for f in (about["code"] or {}).get("flips", []) if f["eps"] == 8}
        if all("kept" in flip for flip in flips.values()) and {"bim", "random"} <= set(flips):
            bim, random = flips["bim"], flips["random"]
            lines += [
                "",
                f"`{about['name']}` at 8/255: of BIM's perturbation {percent(bim['kept'])} comes "
                f"out again (projected on what went in), of random signs of the full bound "
                f"{percent(random['kept'])}; {percent(bim['share'], 1)} and "
                f"{percent(random['share'], 1)} of the bits flip. The random signs are up to "
                f"{_larger(record, about['name'], 8):.1f} times as large (root mean square), so "
                "the shares of bits are not those of equal sizes.",
            ]
    return lines


def _larger(record: Record, name: str, eps: float) -> float:
    """Return how many times as large as BIM's perturbation one is that fills the bound.

    Where images are black or white, random signs are cut off: they fill it at most.
    """
    (row,) = (
        row
        for row in select(record, name, "oblivious")
        if (row["attack"], row["eps"]) == ("bim", eps)
    )
    return eps / 255 * 10 ** (row["perturbation_psnr"] / 20)


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


def rates_table(experiment: str) -> list[str]:
    """What each rate leaves of images, attacks and accuracy."""
    if (record := _optional(f"{experiment}-small")) is None:
        return [f"Not run yet: `comdefend reproduce {experiment}`."]
    measured = {(row["threat"], row["attack"]) for row in record["rows"]}
    columns = [
        ("clean", "clean", None, None),
        *((f"BIM {eps}/255", "oblivious", "bim", eps) for eps in (2, 4, 8, 16)),
        ("BIM 8/255 made on the plain classifier", "transfer", "bim", 8),
        *((f"adaptive PGD {eps}/255", "adaptive", "pgd", eps) for eps in (2, 8)),
        ("AutoAttack 8/255", "adaptive", "autoattack", 8),
    ]
    columns = [column for column in columns if column[1:3] in measured]
    lines = [
        "| | bits a pixel | PSNR, dB | BIM 8/255 kept | "
        f"{' | '.join(title for title, *_ in columns)} |",
        "| --- |" + " ---: |" * (3 + len(columns)),
    ]
    for about in record["defenses"]:
        figures = ["–"] * 3
        if about["code"]:
            (kept,) = (
                flip["kept"]
                for flip in about["code"]["flips"]
                if (flip["change"], flip["eps"]) == ("bim", 8)
            )
            figures = [f"{about['bpp']:g}", f"{about['psnr']:.1f}", percent(kept)]
        for _, threat, attack, eps in columns:
            found = [
                row
                for row in record["rows"]
                if (row["defense"], row["threat"], row["attack"], row["eps"])
                == (about["name"], threat, attack, eps)
            ]
            figures.append(percent(found[0]["accuracy"]) if found else "–")
        lines.append(f"| {' | '.join([about['name'], *figures])} |")
    data = record["data"]
    failed = [c for c in record["checks"] if c["passed"] is False]
    counts = {row["images"] for row in record["rows"] if row["threat"] == "adaptive"}
    lines += [
        "",
        f"{data['images']} test images of `{data['source']}` (sample of seed {data['seed']})"
        f"{_on_fewer(record, columns)}; classifier `{record['classifier']}`. BIM, of "
        f"{_steps(record, 'bim')} steps, is made on the classifier of the row, without the "
        "purifier. Each adaptive figure counts for each image the worst of all attacks within the "
        "bound"
        + (", and one of fewer images can look higher. " if len(counts) > 1 else ". ")
        + f"[Record](records/{experiment}-small.json), made by `comdefend "
        f"reproduce {experiment}`. {len(record['checks']) - len(failed)} of "
        f"{len(record['checks'])} sanity checks hold" + (":" if failed else "."),
    ]
    for check in failed:
        lines += ["", f"- does not hold: {check['name']} ({check['detail']})"]
    return lines


ROBUST_COLUMNS: tuple[tuple[str, str, str | None, float | None], ...] = (
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


def robust_table(experiment: str) -> list[str]:
    """What training against the attacker leaves, and how its ways compare under AutoAttack."""
    if (record := _optional(f"{experiment}-small")) is None:
        return [f"Not run yet: `comdefend reproduce {experiment}`."]
    names = [about["name"] for about in record["defenses"]]
    corrupted = corruptions(record)
    changes = list(next(iter(corrupted.values()), {}))
    measured = {(row["threat"], row["attack"], row["eps"]) for row in record["rows"]}
    columns = [column for column in ROBUST_COLUMNS if column[1:] in measured]
    titles = [*(title for title, *_ in columns), *changes]
    lines = [f"| | {' | '.join(titles)} |", "| --- |" + " ---: |" * len(titles)]
    for name in names:
        figures = []
        for _, threat, attack, eps in columns:
            rows = _attacked(record, name, threat, attack, eps)
            if threat == "transfer" and not rows:
                # The row's own classifier is the plain one, on which it was made.
                rows = _attacked(record, name, "oblivious", attack, eps)
            figures.append(show(combine(rows), 1 if attack == "autoattack" else 0))
        figures += [show(corrupted[name].get(change)) for change in changes]
        lines.append(f"| {' | '.join([name, *figures])} |")
    data, checks = record["data"], record["checks"]
    failed = [c for c in checks if c["passed"] is False]
    lines += [
        "",
        f"{data['images']} test images of `{data['source']}` (sample of seed {data['seed']})"
        f"{_on_fewer(record, columns)}. BIM, of 10 steps, is made on the classifier of the row, "
        "without the purifier. Each adaptive figure counts for each image the worst of all attacks "
        "within the bound, AutoAttack's of PGD with every stand-in and of Square too. "
        f"[Record](records/{experiment}-small.json), made by `comdefend reproduce {experiment}`. "
        f"{len(checks) - len(failed)} of {len(checks)} sanity checks hold"
        + (":" if failed else "."),
    ]
    for check in failed:
        lines += ["", f"- does not hold: {check['name']} ({check['detail']})"]
    for pair in [("none", "purifier alone"), *((name, "both") for name in names[:-1])]:
        before, after, lost, won = _compared(record, [*pair], "adaptive", None, 8)
        lines += [
            "",
            f"The worst of all attacks within 8/255, {pair[0]} to {pair[1]}: {before} to {after} "
            f"({lost} lost, {won} won, p {_p_value(mcnemar(lost, won))}).",
        ]
    return lines


def _attacked(
    record: Record, name: str, threat: str, attack: str | None, eps: float | None
) -> list[dict[str, Any]]:
    rows = select(record, name, threat)
    return [row for row in rows if (row["attack"], row["eps"]) == (attack, eps)]


def _on_fewer(record: Record, columns: Sequence[tuple[str, str, str | None, float | None]]) -> str:
    """Say which attacks of a table were made on fewer images than the sample has."""
    shown = {attack for _, _, attack, _ in columns if attack}
    fewer = {
        attack_name(row["attack"]): row["images"]
        for row in record["rows"]
        if row["attack"] in shown and row["images"] < record["data"]["images"]
    }
    return "".join(f", {name} on the first {images}" for name, images in sorted(fewer.items()))


CLEAN_LOSS = 0.1


def choosing_table() -> list[str]:
    """The rate to take for each bound: chosen on one half of the images, measured on the other."""
    if (record := _optional("ladder-small")) is None:
        return ["Not run yet: `comdefend reproduce ladder`."]
    rows = {
        (row["defense"], row["threat"], row["attack"], row["eps"]): row for row in record["rows"]
    }
    half = record["data"]["images"] // 2

    def share(name: str, threat: str, attack: str | None, eps: int | None, part: slice) -> float:
        verdicts = rows[name, threat, attack, eps]["correct"][part]
        return verdicts.count("1") / len(verdicts)

    first, second = slice(None, half), slice(half, None)
    rates = {d["name"]: d["bpp"] for d in record["defenses"] if d["name"].startswith("one network")}
    least = share("none", "clean", None, None, first) - CLEAN_LOSS
    usable = [name for name in rates if share(name, "clean", None, None, first) >= least]
    lines = [
        "| attacks within | take | clean | BIM, attacker does not know | no purifier "
        "| PGD, attacker knows | no purifier |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for eps in (2, 4, 8, 16):
        best = max(usable, key=lambda name: share(name, "oblivious", "bim", eps, first))
        figures = [share(best, "clean", None, None, second)]
        for threat, attack, part in (
            ("oblivious", "bim", second),
            ("adaptive", "pgd", slice(None)),
        ):
            figures += [share(name, threat, attack, eps, part) for name in (best, "none")]
        take = f'`comdefend.load("rgb-variable@{rates[best]:g}")`'
        lines.append(f"| {eps}/255 | {' | '.join([take, *map(percent, figures)])} |")
    (attacked,) = {row["images"] for row in record["rows"] if row["threat"] == "adaptive"}
    return [
        *lines,
        "",
        f"Of the rates that cost at most {100 * CLEAN_LOSS:.0f} points of clean accuracy on the "
        f"first {half} images, the one that keeps most of these right under the attack; the "
        f"figures are of the other {half}, those of PGD of the first {attacked}. "
        f"`{record['data']['source']}`, "
        f"`{record['classifier']}`; [record](records/ladder-small.json).",
    ]


def kept_table() -> list[str]:
    """How much of which perturbation comes out again, at each rate."""
    if (record := _optional("kept")) is None:
        return ["Not run yet: `python tools/kept.py`."]
    changes = {"random": "random signs", "bim": "oblivious", "adaptive": "adaptive"}
    lines = [
        "| bits a pixel | PSNR, dB | "
        + " | ".join(
            f"{what}: {title}"
            for what in ("kept", "passed on", "bits flipped")
            for title in changes.values()
        )
        + " |",
        "| ---: " * (2 + 3 * len(changes)) + "|",
    ]
    for row in record["rows"]:
        flips = {flip["change"]: flip for flip in row["flips"]}
        figures = [percent(flips[name]["kept"]) for name in changes]
        figures += [f"{flips[name]['passed_on']:.2f}" for name in changes]
        figures += [percent(flips[name]["share"], 1) for name in changes]
        rate = [f"{row['bpp']:g}", f"{row['psnr']:.1f}"]
        lines.append(f"| {' | '.join([*rate, *figures])} |")
    return [
        *lines,
        "",
        f"`{record['weights']}` before `{record['classifier']}`, {record['images']} test images of "
        f"`{record['data']}`, {record['eps']}/255: random signs of the full bound; BIM of "
        f"{record['steps']['bim']} steps on the classifier alone; PGD of "
        f"{record['steps']['adaptive']} steps through the purifier. *Kept*: of the perturbation, "
        "what comes out again (its projection on what went in). *Passed on*: how large what comes "
        "out is, beside what went in. [Record](records/kept.json), made by `python tools/kept.py`.",
    ]


def _steps(record: Record, attack: str) -> int:
    (steps,) = {row["steps"] for row in record["rows"] if row["attack"] == attack}
    return steps


def paired_table(experiment: str, field: str, *bases: str) -> list[str]:
    """Compare defences on the images that both were attacked on, each with those after it."""
    record = load_record_file(ROOT / f"docs/records/{experiment}-small.json")
    names = {about["name"].removeprefix(f"{field} "): about["name"] for about in record["defenses"]}
    columns = (
        ("clean", "clean", None, None),
        *((f"BIM {eps}/255", "oblivious", "bim", eps) for eps in (2, 8, 16)),
        *((f"adaptive {eps}/255", "adaptive", None, eps) for eps in (2, 8, 16)),
    )
    found: dict[tuple[str, str], list[tuple[str, str, int, int]]] = {}
    for base in bases:
        for value in list(names)[list(names).index(base) + 1 :]:
            found[base, value] = [
                _compared(record, [names[base], names[value]], *column) for _, *column in columns
            ]
    tests = [mcnemar(*cell[2:]) for cells in found.values() for cell in cells]
    level = _holm(tests)
    lines = [
        f"| {' | '.join([field, *(column[0] for column in columns)])} |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for (base, value), cells in found.items():
        shown = []
        for before, after, lost, won in cells:
            p = mcnemar(lost, won)
            text = f"{before} to {after} ({lost}:{won}), p {_p_value(p)}"
            shown.append(f"**{text}**" if p <= level else text)
        lines.append(f"| {base} to {value} | {' | '.join(shown)} |")
    below = sum(p < 0.05 for p in tests)
    return [
        *lines,
        "",
        "In brackets the images that only the first of the two was right on, and those that only "
        "the second was; p by McNemar's exact test, two-sided. Adaptive figures here stand on the "
        f"{record['experiment']['adaptive'][0]['images']} images that were attacked adaptively. "
        f"{below} of {len(tests)} comparisons have p < 0.05 each by itself; those in bold "
        f"({sum(p <= level for p in tests)}) keep to 0.05 for the whole table (Holm 1979). All "
        "are about the images: with one training run for each row, none says how far two runs of "
        f"equal {field} lie apart.",
    ]


def _compared(
    record: Record, names: list[str], threat: str, attack: str | None, eps: float | None
) -> tuple[str, str, int, int]:
    """Return two defences' accuracy on the same images, and how many only either is right on."""
    one, other = (
        survivors(
            [
                row
                for row in select(record, name, threat)
                if (attack in (None, row["attack"])) and row["eps"] == eps
            ]
        )
        for name in names
    )
    if one is None or other is None or len(one) != len(other):
        raise ValueError(f"{names}: not on the same images under {threat} {attack} {eps}")
    pairs = list(zip(one, other, strict=True))
    shares = [percent(verdicts.count("1") / len(verdicts)) for verdicts in (one, other)]
    return shares[0], shares[1], pairs.count(("1", "0")), pairs.count(("0", "1"))


def _holm(tests: list[float], level: float = 0.05) -> float:
    """Return the largest p-value that Holm's procedure keeps, or less than any."""
    kept = -1.0
    for index, p in enumerate(sorted(tests)):
        if p > level / (len(tests) - index):
            break
        kept = p
    return kept


def _p_value(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


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
        figures = [f"{figure(row['rate'])} | {percent(row['ratio'], 1)}" for row in rows]
        lines.append(f"| {' | '.join([rows[0]['defense'], *figures])} |")
    return [
        *lines,
        "",
        f"In float32; medians of {record['costs'][0]['rounds']} rounds, in which all take turns. "
        "*Of undefended* is the median of the rounds' own ratios, not the ratio of the medians "
        "beside it. "
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
        f"{figure(speed['bfloat16'])} images a second instead of {figure(speed['float32'])} "
        f"({speed['defense']}, {speed['ratio']:.2f} times)"
        for speed in found["speeds"]
    ]
    return [
        *lines,
        "",
        f"{changed} of {len(rows) * count:,} verdicts change, so evaluations stay in float32."
        if changed
        else f"None of {len(rows) * count:,} verdicts changes, so evaluations may run in bfloat16.",
        f"The speed in bfloat16: {' and '.join(speeds)}, {found['batch']} images at once, "
        "in a run of its own.",
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
                    f"| {name} | {bench_tables.engine_name(row)} | {figure(1000 * row['seconds'])} "
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
    "distillation": distillation_table,
    "engines": engines_table,
    "weights": weights_table,
    "cost": cost_table,
    "decay": decay_table,
    "ablation": ablation_table,
    "kept": kept_table,
    "paired": paired_table,
    "rates": rates_table,
    "results": results_table,
    "robust": robust_table,
    "speed": speed_table,
    "bfloat16": bfloat16_table,
    "choosing": choosing_table,
}


def filled(text: str) -> str:
    """Return a document with its tables made anew."""

    def fill(match: re.Match[str]) -> str:
        name, *arguments = match[1].split()
        lines = TABLES[name](*arguments)
        return "\n".join([f"<!-- table: {match[1]} -->", "", *lines, "", "<!-- end -->"])

    return re.sub(r"<!-- table: ([\w .-]+?) -->.*?<!-- end -->", fill, text, flags=re.DOTALL)


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
