"""Training runs: folders that hold logs, checkpoints, pictures, and in the end the weights."""

import io
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.callbacks.progress import RichProgressBar, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.utils.data import DataLoader

from comdefend.common.atomic import atomic_write
from comdefend.common.processor import native_bf16
from comdefend.errors import ImageError, InputError, OutputError
from comdefend.training.recipe import Recipe, recipe_to_dict


class _WithoutVersion:
    """A progress bar that does not show the logger's version, which says nothing here."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)  # type: ignore[misc]
        metrics.pop("v_num", None)
        return metrics


class _RichBar(_WithoutVersion, RichProgressBar):
    pass


class _PlainBar(_WithoutVersion, TQDMProgressBar):
    pass


class _AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that a process killed while it writes one cannot leave in halves."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        atomic_write(Path(path), buffer.getvalue())


def _hush() -> None:
    """Keep Lightning's advertisements, and warnings that users cannot act on, off the screen."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*treespec.*",
        ".*smaller than the logging interval.*",
        ".*num_workers.*",
        ".*in eval mode.*",
    ):
        warnings.filterwarnings("ignore", message=message)


Precision = str
"""``auto``, ``32`` or ``bf16``."""


def fit(
    module: LightningModule,
    train: DataLoader[Any],
    validation: DataLoader[Any],
    output: Path,
    epochs: int,
    callbacks: list[Callback],
    precision: Precision = "auto",
    devices: int = 1,
) -> Trainer:
    """Train, going on from the folder's last checkpoint where there is one.

    Args:
        module: What to train.
        train: Batches of one epoch.
        validation: Batches to validate on after every epoch.
        output: The run's folder.
        epochs: Epochs in all, those of earlier runs counted.
        callbacks: Beside the progress bar and the checkpoints.
        precision: ``auto`` takes bf16 where the processor or GPU computes in it.
        devices: Processes that train together (DDP).

    Returns:
        The trainer, when it has ended.
    """
    # One file, replaced as a whole after every epoch.
    checkpoints = ModelCheckpoint(
        output / "checkpoints", filename="last", enable_version_counter=False
    )
    bar = _RichBar() if sys.stderr.isatty() else _PlainBar(refresh_rate=50)
    _hush()
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="auto",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        # The samplers cut batches into shares themselves, so that the number of processes does
        # not change what is learnt.
        use_distributed_sampler=False,
        precision=lightning_precision(precision),
        logger=[
            # A new file for every start: Lightning's logger would delete that of the last.
            CSVLogger(output / "logs", name="csv"),
            TensorBoardLogger(output, name="logs", version="tensorboard"),
        ],
        plugins=[_AtomicCheckpoints()],
        callbacks=[checkpoints, bar, *callbacks],
        log_every_n_steps=50,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        deterministic=True,
        benchmark=False,
    )
    last = output / "checkpoints" / "last.ckpt"
    resume = str(last) if last.is_file() else None
    try:
        trainer.fit(module, train, validation, ckpt_path=resume, weights_only=True)
    except SystemExit as stopped:
        # Lightning turns Ctrl-C into an exit; who called us decides what to say of it.
        raise KeyboardInterrupt from stopped
    except ImageError as error:
        # One raised in a worker process comes with that process's traceback in its message.
        reason = str(error).strip().splitlines()[-1]
        raise ImageError(reason.removeprefix("comdefend.errors.ImageError: ")) from error
    return trainer


def open_run(output: Path, recipe: Recipe) -> None:
    """Make a run's folder, or check that the one there belongs to the same recipe.

    Raises:
        InputError: The folder holds a run of another recipe.
        OutputError: The folder cannot be written.
    """
    file = output / "recipe.json"
    text = json.dumps(recipe_to_dict(recipe), indent=2) + "\n"
    if file.is_file():
        if file.read_text() != text:
            raise InputError(
                f"{output}: holds a run of another recipe; take another --output or remove it"
            )
        return
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file, not a folder")
    atomic_write(file, text.encode())


def lightning_precision(precision: Precision) -> Any:
    """Return Lightning's name of a precision.

    Raises:
        InputError: Not one of ``auto``, ``32`` and ``bf16``.
    """
    choices = {
        "auto": "bf16-mixed" if native_bf16() else "32-true",
        "32": "32-true",
        "bf16": "bf16-mixed",
    }
    if precision not in choices:
        raise InputError(f"precision must be one of {', '.join(choices)}, not '{precision}'")
    return choices[precision]
