"""An evaluation on many machines: its cells are Ray tasks, their results are kept by the driver."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from comdefend.common.extras import require
from comdefend.common.provenance import versions
from comdefend.common.schema import to_plain
from comdefend.common.store import Store
from comdefend.errors import InputError, RemoteError, one_line
from comdefend.evaluation.cells import Cell
from comdefend.evaluation.measures import Result, keys_alone, measured
from comdefend.evaluation.run import Progress, Step, Workers
from comdefend.integrations.ray_cluster import CHECKED_SECONDS, check_cluster, cluster


def on_cluster(address: str) -> Workers:
    """Return what measures the cells of an evaluation on a Ray cluster, each on one core.

    Images, classifier and defences are opened here and sent along; code of a user's own must be
    importable on every machine. What is finished is kept here, as without a cluster, so that a run
    that was stopped goes on. Where a machine is lost, its cells are measured on another one.

    Args:
        address: Of the cluster, ``HOST:PORT`` or ``ray://HOST:PORT``; ``auto`` for the one on this
            machine, ``local`` for a new one on it.

    Returns:
        What `comdefend.evaluate` takes as ``workers``. It raises a RemoteError where the cluster is
        lost, or a machine has other versions or lacks code that is to be measured.

    Raises:
        ExtraMissingError: Ray is not installed.
        InputError: The address has another form.
        RemoteError: No cluster answers.
    """
    check_cluster(address)

    def measure(steps: Sequence[Step], store: Store, progress: Progress) -> Mapping[str, Result]:
        schedule = _Schedule(steps, store)
        if schedule.waiting:
            with cluster(address) as check:
                _run(schedule, check, progress)
        return schedule.results

    return measure


class _Schedule:
    """What is measured, what runs, and what waits.

    A cell waits for those it starts from, and while another makes attacked images that it needs as
    well: they are made once.
    """

    def __init__(self, steps: Sequence[Step], store: Store) -> None:
        self.store, self.total = store, len(steps)
        self.results: dict[str, Result] = {}
        self.waiting: dict[str, Step] = {}
        for at, cell in steps:
            result = store.found(to_plain(cell))
            if result is None:
                self.waiting[cell.digest] = at, cell
            else:
                self.results[cell.digest] = result
        self._made: dict[str, set[str]] = {}

    def start(self) -> list[Step]:
        """Return the steps that can start now; they run until they are finished."""
        started = []
        for digest, (at, cell) in list(self.waiting.items()):
            making = {name for names in self._made.values() for name in names}
            needed = set(self.shared(at, cell))
            if self.results.keys() >= set(cell.after) and making.isdisjoint(needed):
                self._made[digest] = needed
                started.append(self.waiting.pop(digest))
        return started

    def shared(self, at: Any, cell: Cell) -> list[str]:
        """Return the names of attacked images that a cell may share with others."""
        return [self.store.name(key) for key in keys_alone(at, cell)]

    def finish(self, cell: Cell, result: Result, tensors: Mapping[str, Tensor]) -> None:
        """Keep what was measured, and the attacked images."""
        for name, tensor in tensors.items():
            self.store.keep_tensor(name, tensor)
        self.store.keep(to_plain(cell), result)
        self.results[cell.digest] = result
        del self._made[cell.digest]


def _run(schedule: _Schedule, check: Any, progress: Progress) -> None:
    """Measure all that waits, as many at once as the cluster has cores for."""
    ray: Any = require("ray", "ray")
    everything = _sent(ray, {at.subject.name: at for at, _ in schedule.waiting.values()})
    task = ray.remote(num_cpus=1)(_measure)
    running: dict[Any, Step] = {}
    while schedule.waiting or running:
        for at, cell in schedule.start():
            before = {digest: schedule.results[digest] for digest in cell.after}
            found = {name: schedule.store.found_tensor(name) for name in schedule.shared(at, cell)}
            known = {name: tensor for name, tensor in found.items() if tensor is not None}
            ref = task.remote(
                [everything], at.subject.name, cell, before, schedule.store.common, known
            )
            running[ref] = at, cell
        at, cell = next(iter(running.values()))
        others = f", and {len(running) - 1} more" if len(running) > 1 else ""
        label = f"{at.subject.name}: {cell.label}{others}"
        progress(label, len(schedule.results), schedule.total)
        done: list[Any] = []
        while not done:
            done, _ = ray.wait(list(running), timeout=CHECKED_SECONDS)
            check()
        for ref in done:
            schedule.finish(running.pop(ref)[1], *ray.get(ref))


def _sent(ray: Any, what: Any) -> Any:
    try:
        return ray.put(what)
    except TypeError as error:
        raise InputError(f"cannot be sent to other machines: {one_line(error)}") from error


def _measure(
    everything: list[Any],
    subject: str,
    cell: Cell,
    before: Mapping[str, Result],
    common: dict[str, Any],
    known: dict[str, Tensor],
) -> tuple[Result, dict[str, Tensor]]:
    """Measure a cell, on whatever machine this is; return also the attacked images made for it."""
    ray: Any = require("ray", "ray")
    host = socket.gethostname()
    here = versions()
    for name, version in common["versions"].items():
        if here.get(name) != version:
            raise RemoteError(f"{host}: has {name} {here.get(name)}, the driver has {version}")
    try:
        at = ray.get(everything[0])[subject]
    # Code of whoever wrote what is evaluated, which may be missing here or raise anything.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RemoteError(f"{host}: cannot open what is evaluated ({reason})") from error
    store = _Carried(common, known)
    at.attacker.store = store
    return measured(replace(at, before=before), cell), store.made


class _Carried(Store):
    """A store in memory: attacked images come with a task, and go back with its result."""

    def __init__(self, common: dict[str, Any], known: dict[str, Tensor]) -> None:
        super().__init__(Path(), common)
        self._known = known
        self.made: dict[str, Tensor] = {}

    def found_tensor(self, name: str) -> Tensor | None:
        return self.made.get(name, self._known.get(name))

    def keep_tensor(self, name: str, tensor: Tensor) -> None:
        self.made[name] = tensor
