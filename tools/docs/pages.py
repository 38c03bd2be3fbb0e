"""The generated documents: each a template of the same path, filled with figures from records."""

from collections.abc import Callable
from pathlib import Path

import jinja2

from comdefend.report.html import render_report
from tools.defense_cost import DefenseCost
from tools.docs import markdown, names
from tools.docs.charts import charts
from tools.docs.commands import commands
from tools.docs.figures import Figures
from tools.docs.overview import overview
from tools.docs.records import (
    ROOT,
    Distillation,
    WeightDecay,
    demo,
    describe,
    evaluation,
    profile,
    read,
)
from tools.docs.tables import (
    bench,
    certified,
    codec,
    comparisons,
    experiment,
    rates,
    ray,
    recipes,
    robust,
    service,
    sizes,
    speed,
    training,
    use,
    weaker,
)
from tools.engine_equality import Engines
from tools.engine_use import EngineUse
from tools.kept import Kept
from tools.photograph_sizes import Sizes
from tools.rate_term import RateTerm

TEMPLATES = Path(__file__).parent / "templates"
REPORTS = ("cifar10",)
"""Records whose HTML report lies among the documents, without example images."""

NOTE = "<!-- Written by `python -m tools.docs` from tools/docs/templates/{path}: edit that. -->\n"

FUNCTIONS: dict[str, Callable[..., object]] = {
    "ablation": comparisons.ablation,
    "attack_title": speed.attack_title,
    "attacks_through": experiment.attacks_through,
    "bench_machine": bench.machine,
    "bench_ms": bench.milliseconds,
    "bench_classes": bench.classes,
    "bench_missing": bench.missing,
    "bench_ratio": bench.ratio,
    "bench_short": bench.short,
    "bench_table": bench.full,
    "bfloat16": speed.bfloat16,
    "certified": certified.certified,
    "certified_gap": certified.certified_gap,
    "certified_share": certified.certified_share,
    "checks": lambda name: markdown.checks(evaluation(name)),
    "choosing": rates.choosing,
    "classifiers": training.classifiers,
    "codec_accuracy": codec.accuracy,
    "codec_accuracy_record": codec.accuracy_record,
    "codec_against_purifying": codec.against_purifying,
    "codec_bits_for_clean": codec.bits_for_clean,
    "codec_beside_jpeg": codec.beside_jpeg,
    "codec_difference": codec.difference,
    "codec_differences": codec.differences,
    "codec_entropy": codec.entropy,
    "codec_entropy_record": codec.entropy_record,
    "codec_entropy_share": codec.entropy_share,
    "codec_most": codec.most,
    "codec_rates": codec.rates,
    "codec_reached": codec.reached,
    "codec_set": codec.rate_set,
    "codec_terms": codec.terms,
    "codec_terms_record": lambda: read(RateTerm, "rate-term"),
    "code_changes": experiment.code_changes,
    "commands": commands,
    "cost": training.cost,
    "decay": training.decay,
    "defense_cost": lambda: read(DefenseCost, "defense-cost"),
    "demo_figures": lambda name: Figures(demo(name)),
    "describe": describe,
    "distillation": training.distillation,
    "distillation_record": lambda: read(Distillation, "distillation"),
    "decay_record": lambda: read(WeightDecay, "weight-decay"),
    "engine_use": lambda: read(EngineUse, "engine-use"),
    "engines": speed.engines,
    "engines_called": use.called,
    "engines_first": use.first,
    "engines_gain": use.gain,
    "engines_change": speed.largest_change,
    "engines_record": lambda: read(Engines, "engines"),
    "figures": lambda name: Figures(evaluation(name)),
    "kept_record": lambda: read(Kept, "kept"),
    "kept_share": rates.kept_share,
    "kept_table": rates.kept,
    "paired": comparisons.paired,
    "profile": profile,
    "purifiers": training.purifiers,
    "rates": rates.rates,
    "ray_rates": ray.ray_rates,
    "ray_record": ray.ray_purify,
    "ray_start": ray.ray_start,
    "recipe_fields": recipes.recipes,
    "robust": robust.robust,
    "robust_pairs": robust.robust_pairs,
    "rounding": experiment.rounding,
    "sample": lambda name, *attacks: markdown.sample(evaluation(name), attacks),
    "service_load": service.service_load,
    "service_soak": service.service_soak,
    "service_throughput": service.service_throughput,
    "sizes": sizes.sizes,
    "sizes_record": lambda: read(Sizes, "photograph-sizes"),
    "speed": speed.speed,
    "summary": experiment.summary,
    "test_accuracy": training.test_accuracy,
    "weaker": weaker.weaker,
}
"""What templates can call."""


def pages() -> dict[str, str]:
    """Return the Markdown documents by their path below the repository's root."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(FUNCTIONS, reported=REPORTS)
    paths = sorted(path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.md"))
    return {
        path: NOTE.format(path=path)
        + markdown.finished(environment.get_template(path).render(name=Path(path).stem))
        for path in paths
        if not Path(path).name.startswith("_")
    }


def reports() -> dict[str, str]:
    """Return the HTML reports by their path; without images, which may not be ours to give."""
    return {
        f"docs/reports/{name}-{profile(name)}.html": render_report(evaluation(name))
        for name in REPORTS
    }


def documents() -> dict[str, str]:
    """Return every generated document by its path below the repository's root."""
    figures = {f"docs/{path}": text for path, text in charts().items()}
    figures["docs/overview.svg"] = overview()
    return {**pages(), **reports(), **figures, names.PATH: names.names()}


def stale() -> list[str]:
    """Return the paths of documents that are missing or differ from what would be written."""
    return [
        path
        for path, text in documents().items()
        if not (ROOT / path).is_file() or (ROOT / path).read_text(encoding="utf-8") != text
    ]
