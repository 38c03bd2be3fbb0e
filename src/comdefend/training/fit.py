"""Lightning's trainer: logs, checkpoints, and going on from the last one."""

import io
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from comdefend.common.atomic import atomic_write
from comdefend.common.processor import native_bf16
from comdefend.errors import ImageError, WeightsError, one_line
from comdefend.training import Precision
from comdefend.training.prepared import Prepared
from comdefend.training.progress import PlainBar, RichBar
from comdefend.training.unfinished import UnfinishedWeights


def fit(
    training: Prepared, output: Path, precision: Precision = "auto", devices: int = 1
) -> Trainer:
    """Train, going on from the folder's last checkpoint if it has one.

    Args:
        training: What to train.
        output: The run's folder; logs and checkpoints go there.
        precision: Number format of the computation.
        devices: Processes that train together (DDP).

    Returns:
        The trainer, after the last epoch.

    Raises:
        ImageError: An image file cannot be read.
    """
    # One file, replaced as a whole after every epoch.
    checkpoints = ModelCheckpoint(
        output / "checkpoints", filename="last", enable_version_counter=False
    )
    bar = RichBar() if sys.stderr.isatty() else PlainBar(refresh_rate=50)
    _silence()
    _prepare_gpu()
    trainer = Trainer(
        max_epochs=training.epochs,
        accelerator="auto",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        # The samplers divide the batches among the processes, so that the number of processes does
        # not change what is learnt.
        use_distributed_sampler=False,
        precision="bf16-mixed" if resolve_precision(precision) == "bfloat16" else "32-true",
        logger=[
            # A new file for every start; Lightning's default would delete that of the last.
            CSVLogger(output / "logs", name="csv"),
            TensorBoardLogger(output, name="logs", version="tensorboard"),
        ],
        plugins=[_AtomicCheckpoints()],
        callbacks=[checkpoints, bar, UnfinishedWeights(output), *training.callbacks],
        log_every_n_steps=50,
        num_sanity_val_steps=0,
        # The last epoch may be shorter than the others.
        reload_dataloaders_every_n_epochs=1,
        enable_model_summary=False,
        # Some operations have no deterministic form on a GPU.
        deterministic="warn" if torch.cuda.is_available() else True,
        benchmark=False,
    )
    last = output / "checkpoints" / "last.ckpt"
    resume = str(last) if _is_whole(last) else None
    try:
        trainer.fit(
            training.module, training.train, training.validation, ckpt_path=resume,
            weights_only=True,
        )  # fmt: skip
    except SystemExit as stopped:
        # Lightning turns Ctrl-C into an exit. The command line has its own answer to it.
        raise KeyboardInterrupt from stopped
    except ImageError as error:
        # An error in a worker process has that process's traceback in its message.
        reason = str(error).strip().splitlines()[-1]
        raise ImageError(reason.removeprefix("comdefend.errors.ImageError: ")) from error
    return trainer


def _is_whole(checkpoint: Path) -> bool:
    """Return whether there is a checkpoint to go on from.

    Raises:
        WeightsError: There is one, and it is damaged.
    """
    if not checkpoint.is_file():
        return False
    # On a damaged file torch may raise anything.
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"{checkpoint}: damaged ({one_line(error)[:120]}); delete it to begin again"
        ) from error
    return True


def resolve_precision(precision: Precision) -> Precision:
    """Return the precision that ``auto`` stands for on this machine; others are themselves."""
    if precision != "auto":
        return precision
    return "bfloat16" if native_bf16() else "float32"


class _AtomicCheckpoints(TorchCheckpointIO):
    """Writes checkpoints atomically: a process killed while it writes leaves the previous one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        atomic_write(Path(path), buffer.getvalue())


def _prepare_gpu() -> None:
    """Let a GPU multiply matrices in TensorFloat-32, and always in the same way."""
    if torch.cuda.is_available():
        # cuBLAS reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.set_float32_matmul_precision("high")


def _silence() -> None:
    """Keep Lightning's tips, and warnings that users can do nothing about, off the screen."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*treespec.*",
        ".*smaller than the logging interval.*",
        ".*num_workers.*",
        ".*in eval mode.*",
        ".*exists and is not empty.*",
        ".*does not have a deterministic implementation.*",
    ):
        warnings.filterwarnings("ignore", message=message)
