"""Progress bars that say which epoch of how many it is, and the time that remains."""

import time
from datetime import timedelta
from typing import Any

from lightning.pytorch.callbacks.progress import RichProgressBar, TQDMProgressBar


class _Remaining:
    """A progress bar with the time that remains, and without the logger's version number."""

    _begun = (0.0, 0)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._begun = time.monotonic(), pl_module.step
        super().on_train_start(trainer, pl_module)  # type: ignore[misc]

    def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)  # type: ignore[misc]
        metrics.pop("v_num", None)
        began, first = self._begun
        done, left = pl_module.step - first, pl_module.steps - pl_module.step
        if done > 0:
            metrics["remaining"] = duration(left * (time.monotonic() - began) / done)
        return metrics


def duration(seconds: float) -> str:
    """Return a time as ``hours:minutes:seconds``."""
    return str(timedelta(seconds=round(seconds)))


class RichBar(_Remaining, RichProgressBar):
    """For terminals."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch + 1} of {self.trainer.max_epochs} "


class PlainBar(_Remaining, TQDMProgressBar):
    """For files and pipes."""

    def on_train_epoch_start(self, trainer: Any, *arguments: Any) -> None:
        """Begin the bar of an epoch."""
        super().on_train_epoch_start(trainer, *arguments)
        number = trainer.current_epoch + 1
        self.train_progress_bar.set_description(f"Epoch {number} of {trainer.max_epochs}")
