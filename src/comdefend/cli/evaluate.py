"""``comdefend evaluate``."""

from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate", help=_HELP, epilog=_EPILOG)(evaluate)


_HELP = """Measure what a defence buys your classifier: clean, oblivious and adaptive.

CLASSIFIER is a shipped name (cifar10-small, fashion-mnist-small), a .safetensors file of comdefend,
torchvision:NAME or timm:NAME with --checkpoint, or your own as package.module:function. It takes
images in [0, 1] and returns logits; --mean and --std wrap one that wants normalised images.

Data: cifar10, fashion-mnist, ... (in the folder that COMDEFEND_DATA names), parquet:PATH, or
folder:PATH with one folder a class. Defences: none, weights such as rgb-12bpp, jpeg:75, bits:3,
median:3, tv:0.1, noise:0.05, resize-pad. Attacks: fgsm, bim, pgd, mi-fgsm, deepfool, cw, square,
autoattack, hopskipjump; bim:20 takes 20 steps.

The output folder receives record.json, table.md and report.html. Stop it whenever you like:
the same command goes on where it was."""

_EPILOG = """Examples:

comdefend evaluate cifar10-small --data cifar10 --defense rgb-12bpp --output runs/evaluation

comdefend evaluate my.models:resnet --checkpoint resnet.safetensors --data folder:photos/
--defense rgb-12bpp --defense jpeg:75 --attack fgsm --attack bim:10 --eps 4 --output runs/mine"""


def evaluate(
    classifier: Annotated[str, typer.Argument(help="The classifier; see above.")],
    data: Annotated[str, typer.Option(help="Labelled images; their test split is used.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The evaluation's folder.")],
    defense: Annotated[
        list[str], typer.Option(help="A defence; repeat for more.", show_default="rgb-12bpp")
    ] = [],  # noqa: B006, Typer makes a new list for each call
    attack: Annotated[
        list[str],
        typer.Option(help="An attack, NAME or NAME:STEPS; repeat.", show_default="fgsm, pgd"),
    ] = [],  # noqa: B006
    eps: Annotated[
        list[float],
        typer.Option(help="A bound in units of 1/255; repeat for more.", show_default="2, 8"),
    ] = [],  # noqa: B006
    images: Annotated[int, typer.Option(help="Size of the sample; 0 for all images.")] = 200,
    adaptive_steps: Annotated[int, typer.Option(help="Steps of the adaptive PGD.")] = 20,
    checkpoint: Annotated[
        str | None, typer.Option(help="Weights of the classifier.", show_default=False)
    ] = None,
    mean: Annotated[str | None, typer.Option(help="0.485,0.456,0.406", show_default=False)] = None,
    std: Annotated[str | None, typer.Option(help="0.229,0.224,0.225", show_default=False)] = None,
    crop: Annotated[int, typer.Option(help="Cut out the central square of this side.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the sample and the attacks.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Evaluate a defence; see the help text above."""
    from comdefend.attacks import ATTACKS
    from comdefend.errors import InputError
    from comdefend.evaluation.experiment import build_experiment

    bounds = eps or [2.0, 8.0]
    oblivious: list[dict[str, Any]] = []
    query: list[dict[str, Any]] = []
    for spec in attack or ["fgsm", "pgd"]:
        name, _, steps = spec.partition(":")
        if steps and not steps.isdecimal():
            raise InputError(f"attack '{spec}': steps must be a number, as in {name}:10")
        plan: dict[str, Any] = {"attack": name, "steps": int(steps) if steps else None}
        # An unknown name passes here; the experiment says what is known.
        if name not in ATTACKS or ATTACKS[name].norm == "Linf":
            plan["eps"] = bounds
        kind = ATTACKS[name].kind if name in ATTACKS else ""
        (query if kind == "query" else oblivious).append(plan)
    # PGD does all that a single step can; every other attack is made through the defence as well.
    adaptive = [{"attack": "pgd", "eps": bounds, "steps": adaptive_steps}]
    adaptive += [plan for plan in oblivious if plan["attack"] not in ("fgsm", "pgd")]
    experiment = build_experiment(
        {
            "name": output.name,
            "title": f"{classifier} on {data}",
            "data": data,
            "classifier": classifier,
            "defenses": list(dict.fromkeys(["none", *(defense or ["rgb-12bpp"])])),
            "oblivious": oblivious,
            "adaptive": adaptive,
            "query": query,
            "images": images,
            "checkpoint": checkpoint,
            "mean": _numbers("mean", mean),
            "std": _numbers("std", std),
            "crop": crop,
            "seed": seed,
        },
        "evaluate",
    )
    run_and_show(experiment, output, device)


def run_and_show(experiment: Any, output: Path, device: str) -> None:
    """Run an experiment with a progress bar, print its table, and warn of checks that fail."""
    from rich.console import Console
    from rich.markdown import Markdown

    from comdefend.cli.options import open_device, progress_bar
    from comdefend.common.extras import require_extra

    require_extra("evaluate")
    from comdefend.evaluation.runner import run_experiment
    from comdefend.report.summary import markdown_table

    console = Console(stderr=True)
    with progress_bar() as show:
        record = run_experiment(experiment, output, open_device(device), show)
    Console().print(Markdown(markdown_table(record)))
    for check in record["checks"]:
        if check["passed"] is False:
            console.print(
                f"warning: {check['name']}: does not hold ({check['detail']})",
                style="bold yellow", markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip
        elif check["passed"] is None:
            console.print(
                f"note: {check['name']}: {check['detail']}",
                markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip
    print(f"{output}/report.html")


def _numbers(name: str, text: str | None) -> list[float] | None:
    from comdefend.errors import InputError

    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{name}: numbers divided by commas, not '{text}'") from None
