"""``comdefend bench``."""

from pathlib import Path
from typing import Annotated

import typer

from comdefend.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench", help=_HELP, epilog=_EPILOG)(bench)


_HELP = """Time purifiers by every engine, beside what you would use instead.

Every engine in every precision, on 64 images of 32x32, one of 224x224 and one of 1024x1024: images
per second, GFLOP/s, the share of a matrix product's speed, memory, and how far the output is from
float32 torch. Beside them JPEG, median, total variation, non-local means, EfficientNet-Lite0 and
ResNet-50. Then a photograph of 12 megapixels (1x3000x4000), purified, compressed and decompressed,
beside JPEG, WebP and AVIF. All take turns, round after round, each in its own process. What this
machine cannot run is left out and named.

At the end the output folder receives bench.json, bench.md, bench-area.svg and bench-batch.svg; a
run that is stopped leaves nothing. Takes about half an hour on two cores; run nothing else
meanwhile."""

_EPILOG = """Examples:

comdefend bench --output bench/

comdefend bench --quick --output bench/

comdefend bench --weights runs/mine/purifier.safetensors --shape 16x64x64 --output bench/"""


def bench(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for record and figures.")],
    weights: Annotated[
        list[str],
        typer.Option(
            "--weights",
            "-w",
            help="Shipped weights, or a .safetensors file; repeat for more.",
            show_default="the recommended ones",
        ),
    ] = [],  # noqa: B006, Typer makes a new list for each call
    shape: Annotated[
        list[str],
        typer.Option(
            help="Images as NxHxW instead of those above; repeat for more.", show_default=False
        ),
    ] = [],  # noqa: B006
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="A few minutes: one image of 224x224 by what auto takes, and why."
        ),
    ] = False,
    rounds: Annotated[int, typer.Option(help="How often each job is timed.")] = 7,
    threads: Annotated[
        int | None, typer.Option(help="Threads that compute.", show_default="torch's default")
    ] = None,
) -> None:
    """Run the benchmark; see the help text above."""
    from rich.console import Console
    from rich.markdown import Markdown

    from comdefend.bench.jobs import WEIGHTS, check_arguments, parse_shape

    shapes = [parse_shape(text) for text in shape]
    if quick and shapes:
        raise InputError("--quick times one image of 224x224; leave --shape out")
    check_arguments(output, rounds, threads)
    # Only now, since torch takes seconds to import.
    from comdefend.bench.run import run_bench
    from comdefend.bench.tables import markdown_table
    from comdefend.cli.options import progress_bar

    with progress_bar() as show:
        record = run_bench(output, weights, shapes, rounds, threads, show, quick)
    Console().print(Markdown(markdown_table(record)))
    if quick:
        from comdefend import zoo
        from comdefend.engines.arrays import choice_for

        for name in weights or WEIGHTS:
            taken = choice_for(zoo.load_arrays(name))
            print(f"{name}: auto takes {taken.name} in {taken.precision} ({taken.why})")
    print(f"{output}/bench.json")
