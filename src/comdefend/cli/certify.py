"""``comdefend certify``."""

from pathlib import Path
from typing import Annotated

import typer

from comdefend.certification.settings import ATTACKED, DRAWS
from comdefend.cli.options import (
    Checkpoint,
    Classes,
    Crop,
    Device,
    Mean,
    Resize,
    SkipUnreadable,
    Std,
)
from comdefend.common.defaults import RECOMMENDED


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("certify", help=_HELP, epilog=_EPILOG)(certify)


_HELP = """Prove within which radius no attack changes your classifier's answer.

By randomised smoothing: normal noise is put on the image, the noisy image is purified, then
classified, and the class that most of many draws give is the answer. From how often it came follows
an L2 radius within which nothing changes it, with probability 99.9 % for each image. What is proven
is the answer of that majority, not of the classifier alone. Where no class has a clear majority
there is no answer; such images are given up early.

A larger --sigma reaches farther and costs accuracy; train a purifier on noisy images for it
(image_noise in its recipe). --n 1000 proves radii up to 2.46 sigma; 10000 reach 3.2 sigma; 100000,
as in papers, 3.8 sigma, with a hundred times as many passes. Defence and classifier must not draw
at random.

Some images are attacked too (PGD in L2 on the smoothed classifier, and on the classifier alone):
what is left there above the certified accuracy is the price of a proof.

Classifier and data are named as for **comdefend evaluate**. The output folder receives record.json,
table.md, certified.svg and report.html. Stop it whenever you like: the same command goes on where
it was."""

_EPILOG = """Examples:

comdefend certify --data cifar10 --classifier cifar10-small --sigma 0.12 --output runs/certified

comdefend certify --data folder:photos/ --classifier torchvision:resnet18 --checkpoint resnet18.pth
--defense runs/noisy/purifier.safetensors --sigma 0.25 --n 10000 --output runs/mine"""


def certify(
    data: Annotated[str, typer.Option(help="Labelled images; their test split is used.")],
    classifier: Annotated[str, typer.Option(help="The classifier, as evaluate names it.")],
    sigma: Annotated[
        float, typer.Option(help="Standard deviation of the noise, for images in [0, 1].")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The certification's folder.")],
    defense: Annotated[
        str, typer.Option(help="The purifier; none smooths the classifier alone.")
    ] = RECOMMENDED,
    n: Annotated[int, typer.Option("--n", help="Draws of noise for each image.")] = DRAWS,
    images: Annotated[int, typer.Option(help="Size of the sample; 0 for all images.")] = 100,
    attacked: Annotated[
        int, typer.Option(help="So many of them are attacked too; 0 for none.")
    ] = ATTACKED,
    checkpoint: Checkpoint = None,
    mean: Mean = None,
    std: Std = None,
    classes: Classes = None,
    resize: Resize = None,
    crop: Crop = None,
    skip_unreadable: SkipUnreadable = False,
    seed: Annotated[int, typer.Option(help="Of the sample, the noise and the attacks.")] = 0,
    device: Device = "auto",
    engine: Annotated[
        str, typer.Option(help="What computes the purifier, as purify takes it.")
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="float32, up to rounding the same classifier on every machine; auto, bfloat16 or "
            "int8 may be faster, and are other classifiers with certificates of their own."
        ),
    ] = "float32",
) -> None:
    """Certify a classifier behind a purifier; see the help text above."""
    from comdefend.certification.settings import Settings
    from comdefend.cli.options import channel_numbers, open_device, progress_bar

    channels = channel_numbers("mean", mean), channel_numbers("std", std)
    # What is wrong with these is said at once, without torch.
    Settings(
        data=data, classifier=classifier, defense=defense, sigma=sigma, n=n, images=images,
        attacked=attacked, mean=channels[0], std=channels[1], resize=resize or 0, crop=crop or 0,
        seed=seed,
    )  # fmt: skip
    from comdefend.common.extras import require_extra

    require_extra("evaluate")
    from rich.console import Console
    from rich.markdown import Markdown

    from comdefend.certificate import certify as run
    from comdefend.report.certified import certificate_table

    with progress_bar() as show:
        certificate = run(
            classifier,
            data=data,
            defense=defense,
            sigma=sigma,
            n=n,
            sample=images,
            attacked=attacked,
            engine=engine,
            precision=precision,
            checkpoint=checkpoint,
            mean=channels[0],
            std=channels[1],
            classes=classes,
            resize=resize,
            crop=crop,
            skip_unreadable=skip_unreadable,
            seed=seed,
            device=open_device(device),
            output=output,
            progress=show,
        )
    Console().print(Markdown(certificate_table(certificate.record)))
    print(f"{output}/report.html")
