"""``comdefend bench``."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench", help=_HELP, epilog=_EPILOG)(bench)


_HELP = """Time purifiers by every engine, beside what you would take instead.

Every engine in every precision, on 64 images of 32x32, one of 224x224 and one of 1024x1024: images
a second, GFLOP/s, the share of a matrix product's speed, memory, and how far the output is from
float32 torch. Beside them JPEG, median, total variation, non-local means, EfficientNet-Lite0 and
ResNet-50. All take turns, round after round, each in a process of its own; what this machine does
not have is left out and named.

The output folder receives bench.json, bench.md, bench-area.svg and bench-batch.svg at the end; a
run that is stopped leaves nothing. Takes about half an hour on two cores, and wants a machine that
does nothing else."""

_EPILOG = """Examples:

comdefend bench --output bench/

comdefend bench --weights runs/mine/purifier.safetensors --shape 16x64x64 --output bench/"""


def bench(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for record and figures.")],
    weights: Annotated[
        list[str],
        typer.Option(
            "--weights",
            "-w",
            help="Shipped weights, or a .safetensors file; repeat for more.",
            show_default="all shipped ones for RGB",
        ),
    ] = [],  # noqa: B006, Typer makes a new list for each call
    shape: Annotated[
        list[str],
        typer.Option(
            help="Images as NxHxW instead of those above; repeat for more.", show_default=False
        ),
    ] = [],  # noqa: B006
    rounds: Annotated[int, typer.Option(help="How often each is timed.")] = 7,
    threads: Annotated[
        int | None, typer.Option(help="How many compute.", show_default="as torch takes")
    ] = None,
) -> None:
    """Run the benchmark; see the help text above."""
    from rich.console import Console
    from rich.markdown import Markdown

    from comdefend.bench.jobs import parse_shape
    from comdefend.bench.run import run_bench
    from comdefend.bench.tables import markdown_table
    from comdefend.cli.options import progress_bar

    shapes = [parse_shape(text) for text in shape]
    with progress_bar() as show:
        record = run_bench(output, weights, shapes, rounds, threads, show)
    Console().print(Markdown(markdown_table(record)))
    print(f"{output}/bench.json")
