"""``comdefend serve``."""

import os
import sys
from typing import Annotated

import typer

from comdefend.cli.options import (
    Checkpoint,
    Classes,
    Crop,
    Device,
    Engine,
    Mean,
    Resize,
    Std,
    classifier_spec,
)
from comdefend.common.defaults import RECOMMENDED


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve", help=_HELP, epilog=_EPILOG)(serve)


_HELP = """Purify and classify images over HTTP.

**POST /purify** takes an image as its body and returns it purified, with its orientation, size,
alpha and metadata. **POST /classify**, where there is a --classifier, returns its answers, and how
far purifying moved them. **GET /** describes the rest. Images that wait are computed in one batch;
what would be too much is refused at once, and nothing is kept.

The environment variable COMDEFEND_TOKEN holds a token that clients must send. Without one, the
service listens for this machine alone. SIGTERM and Ctrl-C stop it when it has answered what it had
accepted."""

_EPILOG = """Examples:

comdefend serve

comdefend serve --weights photo --classifier efficientnet-lite0 --port 9000

curl --data-binary @photo.jpg http://127.0.0.1:8000/purify --output clean.png"""


def serve(
    weights: Annotated[
        str, typer.Option("--weights", "-w", help="Shipped weights, or a .safetensors file.")
    ] = RECOMMENDED,
    classifier: Annotated[
        str | None,
        typer.Option(
            help="A classifier behind the purifier, as evaluate names it.", show_default=False
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
    resize: Resize = None,
    crop: Crop = None,
    host: Annotated[str, typer.Option(help="Where to listen; others need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes one that is free.")] = 8000,
    max_megabytes: Annotated[float, typer.Option(help="Larger bodies are refused.")] = 32,
    max_megapixels: Annotated[float, typer.Option(help="Larger images are refused.")] = 25,
    timeout: Annotated[
        float, typer.Option(help="Seconds in which a request arrives, and then is answered.")
    ] = 60,
    queue: Annotated[int, typer.Option(help="Most images accepted at once.")] = 64,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, float32, bfloat16 or int8, as purify takes it.")
    ] = "auto",
) -> None:
    """Serve; the help text is above."""
    from comdefend.cli.options import open_device
    from comdefend.common.extras import require_extra
    from comdefend.service.settings import TOKEN, Settings

    require_extra("serve")
    # What is wrong with these is said at once, without torch.
    settings = Settings(
        host=host, port=port, token=os.environ.get(TOKEN, "").strip(), seconds=timeout,
        max_bytes=round(max_megabytes * 1e6), max_pixels=max_megapixels * 1e6, queue=queue,
    )  # fmt: skip
    spec = classifier_spec(classifier, checkpoint, mean, std, classes)
    from comdefend.service.server import serve as run

    run(
        settings,
        weights,
        classifier=spec,
        resize=resize,
        crop=crop,
        device=open_device(device),
        engine=engine,
        precision=precision,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )
