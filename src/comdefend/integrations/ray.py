"""Many files on many machines, by Ray Data: actors hold an engine each and write what they make."""

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import Empty, Queue
from typing import Any, TypeVar

import numpy as np

from comdefend.common.defaults import RECOMMENDED
from comdefend.common.extras import require
from comdefend.common.places import Place, check_folder, exists, place
from comdefend.common.remote import RemotePath
from comdefend.data.image_files import quiet_decoders
from comdefend.engines.opening import open_engine
from comdefend.errors import ComdefendError, InputError
from comdefend.integrations.ray_cells import on_cluster
from comdefend.integrations.ray_cluster import CHECKED_SECONDS, cluster
from comdefend.nn.purifier import ComDefend
from comdefend.purify.files import open_purifier, planned
from comdefend.purify.pipeline import PurifiedFile, purify_pairs
from comdefend.purify.tiling import DEFAULT_TILE

_FILES_AT_ONCE = 16
"""What an actor takes at a time, and what is done again where its machine is lost."""

__all__ = ["on_cluster", "purify_dataset", "purify_files"]

_Item = TypeVar("_Item")


def purify_dataset(
    dataset: Any,
    weights: str | Path | ComDefend = RECOMMENDED,
    *,
    bpp: float | None = None,
    resize: int = 0,
    overwrite: bool = False,
    engine: str = "auto",
    precision: str = "auto",
    max_megapixels: float | None = None,
    gpus: float = 0,
) -> Any:
    """Purify the files that a Ray Dataset names; results are written where they are computed.

    Each actor takes one core (and ``gpus``) and holds an engine. Files whose target exists are
    skipped, so after a machine was lost only what it had not written is computed again, and a
    second run does what is missing. A bad file never stops the others.

    Args:
        dataset: A ``ray.data.Dataset`` with the columns ``source`` and ``target``: the file to read
            and the image file to write, each an address as ``s3://bucket/a.png`` or an absolute
            path that every machine has.
        weights: As for `comdefend.purify_files`; sent to the machines, which need no weight file.
        bpp, resize, overwrite, engine, precision, max_megapixels: As for `comdefend.purify_files`;
            ``auto`` takes the fastest engine that a machine has.
        gpus: Share of a GPU that an actor takes; 0 computes on processors.

    Returns:
        A lazy ``ray.data.Dataset`` of what became of each file, with the columns ``source``,
        ``target``, ``status``, ``error`` and ``notes``, as in `PurifiedFile`, notes joined by
        semicolons. Nothing is done before it is consumed.

    Raises:
        ExtraMissingError: Ray is not installed.
        InputError: A rate that the weights do not have.
        WeightsError: The weights are corrupt.
    """
    data: Any = require("ray.data", "ray")
    settings = {
        "purifier": open_purifier(weights, bpp).to("cpu"), "engine": engine,
        "precision": precision, "resize": resize, "overwrite": overwrite,
        "max_megapixels": max_megapixels, "device": "cuda" if gpus else "cpu",
    }  # fmt: skip
    return dataset.map_batches(
        _Actor,
        fn_constructor_kwargs=settings,
        batch_size=_FILES_AT_ONCE,
        batch_format="numpy",
        # A pool that can shrink: where a machine is lost, actors without work make room for those
        # that start anew.
        compute=data.ActorPoolStrategy(min_size=1, max_size=None),
        num_cpus=1,
        num_gpus=gpus,
    )


class _Actor:
    """Holds an engine, and purifies some files at a time."""

    def __init__(
        self,
        purifier: ComDefend,
        engine: str,
        precision: str,
        resize: int,
        overwrite: bool,
        max_megapixels: float | None,
        device: str,
    ) -> None:
        self._engine = open_engine(purifier.to(device), engine, precision)
        self._resize = resize
        self._skips = (lambda target: False) if overwrite else exists
        self._limit = None if max_megapixels is None else max_megapixels * 1e6

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[str]]:
        results: list[PurifiedFile] = []
        pairs: list[tuple[Place, Place]] = []
        for source, target in zip(batch["source"], batch["target"], strict=True):
            try:
                pairs.append((_shared(place(str(source))), _shared(place(str(target)))))
            except ComdefendError as error:
                results.append(PurifiedFile(Path(source), Path(target), "failed", str(error)))
        with quiet_decoders(self._limit):
            purified = purify_pairs(self._engine, pairs, self._skips, DEFAULT_TILE, self._resize)
            results += list(purified)
        return {
            "source": [_name(r.source) for r in results],
            "target": [_name(r.target) for r in results],
            "status": [r.status for r in results],
            "error": [r.error for r in results],
            "notes": ["; ".join(r.notes) for r in results],
        }


def purify_files(
    address: str,
    inputs: str | Place | Iterable[str | Place],
    output: str | Place,
    weights: str | Path | ComDefend = RECOMMENDED,
    *,
    bpp: float | None = None,
    resize: int = 0,
    format: str | None = None,
    overwrite: bool = False,
    max_megapixels: float | None = None,
    progress: Callable[[PurifiedFile, int], None] | None = None,
    **options: Any,
) -> list[PurifiedFile]:
    """Purify image files and folders of them on a Ray cluster: see `comdefend.purify_files`.

    Args:
        address: Of the cluster, ``HOST:PORT`` or ``ray://HOST:PORT``; ``auto`` for the one on this
            machine, ``local`` for a new one on it.
        inputs, output: Where all machines find them: addresses, or paths on a shared disk.
        weights, bpp, resize, format, overwrite, max_megapixels: As for `comdefend.purify_files`.
        progress: The same, told of results as they come, in any order.
        options: ``engine``, ``precision`` and ``gpus``, as for `purify_dataset`.

    Returns:
        What became of each file, in the order of the inputs.

    Raises:
        RemoteError: No cluster answers, or it is lost before the work is done; a second run goes
            on.
        InputError, DataMissingError, ExtraMissingError, OutputError, WeightsError: As for
            `comdefend.purify_files` and `purify_dataset`.
    """
    job = planned(inputs, output, format, overwrite, resize, max_megapixels)
    total = len(job.pairs)
    purifier = open_purifier(weights, bpp)
    options |= {"resize": resize, "overwrite": overwrite, "max_megapixels": max_megapixels}
    done: dict[str, PurifiedFile] = {}

    def note(target: str, result: PurifiedFile) -> None:
        done[target] = result
        if progress is not None:
            progress(result, total)

    for each in itertools.chain(*job.pairs):
        _shared(each)
    left = {}
    for source, target in job.pairs:
        if job.skips(target):
            note(_name(target), PurifiedFile(source, target, "skipped"))
        else:
            left[_name(target)] = source, target
    if left:
        with cluster(address) as check:
            data: Any = require("ray.data", "ray")
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            data.DataContext.get_current().enable_progress_bars = False
            check_folder(job.pairs[0][1].parent)
            rows = [{"source": _name(source), "target": name} for name, (source, _) in left.items()]
            made = purify_dataset(data.from_items(rows), purifier, **options)
            for row in _watched(made.iter_rows(), check):
                name = str(row["target"])
                result = PurifiedFile(
                    *left[name], row["status"], row["error"],
                    tuple(filter(None, row["notes"].split("; "))),
                )  # fmt: skip
                # It was not there before: written by this run, on a machine that was lost since.
                if result.status == "skipped":
                    result = replace(result, status="purified")
                note(name, result)
    job.warn_of_others()
    return [*job.failed, *(done[_name(target)] for _, target in job.pairs)]


def _watched(items: Iterable[_Item], check: Callable[[], None]) -> Iterator[_Item]:
    """Yield what comes, and look every few seconds whether more can come."""
    came: Queue[tuple[bool, Any]] = Queue()

    def take() -> None:
        try:
            for item in items:
                came.put((True, item))
        except BaseException as error:
            came.put((False, error))
        else:
            came.put((False, None))

    # A daemon: where the cluster is lost, it waits without end.
    threading.Thread(target=take, daemon=True).start()
    while True:
        try:
            more, item = came.get(timeout=CHECKED_SECONDS)
        except Empty:
            check()
            continue
        if more:
            yield item
        elif item is None:
            return
        else:
            raise item


def _shared(of: Place) -> Place:
    """Return a place that other processes reach, too.

    Raises:
        InputError: They do not.
    """
    if isinstance(of, RemotePath) and of.in_process:
        raise InputError(f"{of}: is in the memory of one process, and the others cannot reach it")
    return of


def _name(of: Place) -> str:
    """Return the name by which other machines find a place."""
    return str(of.absolute()) if isinstance(of, Path) else of.address
