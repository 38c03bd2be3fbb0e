"""Record what workers of a Ray cluster add: ``python -m tools.ray_rate``.

Images a second of ``comdefend purify`` in one process on one core, and with ``--ray`` on one and
two nodes of one core each: real processes, each bound to a core of its own, PNG files in and out.
The head of the cluster and the driver compute nothing, but have no core to themselves. Without Ray,
with one node and with two take turns, so that whatever else the machine does slows all.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from comdefend.common.json_files import save_json
from comdefend.common.processor import Timed, processor_name, this_machine
from comdefend.data.shipped import image_crops
from comdefend.integrations.ray import purify_files as purify_on_ray
from comdefend.purify.files import purify_files
from tools.service_clients import encoded

RECORD = Path(__file__).parent.parent / "docs" / "records" / "ray-purify.json"
WEIGHTS, SIDE, IMAGES, ROUNDS = "photo", 224, 640, 3
_OBJECTS = 200 << 20
"""Bytes of a node's object store: through it go names, no images."""


class RayPurify(Timed, frozen=True, kw_only=True):
    """What was measured.

    Attributes:
        processor: What its maker calls it.
        cores: So many, for workers, head and driver together.
        weights, size, images: What was purified.
        load: The load of the machine before, as the system averages it over a minute.
        alone, one, two: Images a second over the second half of the images, in each round: without
            Ray on one core, and with one and two workers of one core each.
        started: Seconds until the first image was there, with one worker.
        one_to_alone: The median of the ratios of one worker to no Ray, round by round.
        two_to_one: The same of two workers to one; 2 if the second added as much as the first.
    """

    processor: str | None
    cores: int
    weights: str
    size: tuple[int, int]
    images: int
    load: float
    alone: tuple[float, ...]
    one: tuple[float, ...]
    two: tuple[float, ...]
    started: tuple[float, ...]
    one_to_alone: float
    two_to_one: float


def measure() -> RayPurify:
    """Return the record."""
    # It takes seconds to import, and documents need the record alone.
    from ray.cluster_utils import Cluster

    load = os.getloadavg()[0]
    alone, one, two, started = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        write_images(source, IMAGES)
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0, "object_store_memory": _OBJECTS, "include_dashboard": False,
                "no_monitor": True, "include_log_monitor": False,
            },
        )  # fmt: skip
        try:
            for number in range(ROUNDS):
                target = Path(folder, f"{number}")
                alone.append(_alone(source, target / "alone"))
                nodes = [_node(cluster, 0)]
                rate, first = _timed(_on(cluster), source, target / "one")
                one.append(rate)
                started.append(first)
                nodes.append(_node(cluster, 1))
                two.append(_timed(_on(cluster), source, target / "two")[0])
                for node in nodes:
                    cluster.remove_node(node)
        finally:
            cluster.shutdown()
    return RayPurify(
        **this_machine("openvino", "ray"),
        threads=1,
        processor=processor_name("cpu"),
        cores=os.cpu_count() or 1,
        weights=WEIGHTS,
        size=(SIDE, SIDE),
        images=IMAGES,
        load=load,
        alone=tuple(alone),
        one=tuple(one),
        two=tuple(two),
        started=tuple(started),
        one_to_alone=_ratio(one, alone),
        two_to_one=_ratio(two, one),
    )


def write_images(folder: Path, count: int) -> None:
    """Write crops of the photographs that ship as PNG files, each many times."""
    folder.mkdir()
    files = [encoded(crop, "png") for crop in image_crops(3, 32, SIDE, SIDE)]
    for number in range(count):
        (folder / f"{number:04}.png").write_bytes(files[number % len(files)])


def _timed(purify: Callable[..., Any], source: Path, target: Path) -> tuple[float, float]:
    """Return images a second over the second half, and seconds until the first was there."""
    began, times = time.perf_counter(), list[float]()
    results = purify(source, target, WEIGHTS, progress=lambda *_: times.append(time.perf_counter()))
    assert {result.status for result in results} == {"purified"}
    half = len(times) // 2
    return (len(times) - half) / (times[-1] - times[half - 1]), times[0] - began


def _on(cluster: Any) -> Callable[..., Any]:
    return lambda *arguments, **options: purify_on_ray(cluster.address, *arguments, **options)


def _alone(source: Path, target: Path) -> float:
    """Measure without Ray, in a process of its own that is bound to one core."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tools.ray_rate", str(source), str(target)]
    with _bound(0):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _node(cluster: Any, core: int) -> Any:
    """Add a node whose processes, those that it will start included, are bound to a core."""
    with _bound(core):
        return cluster.add_node(num_cpus=1, object_store_memory=_OBJECTS)


@contextmanager
def _bound(core: int) -> Iterator[None]:
    """Bind the processes that are started in the block to a core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


if __name__ == "__main__":
    if sys.argv[1:]:
        print(_timed(purify_files, Path(sys.argv[1]), Path(sys.argv[2]))[0])
    else:
        save_json(measure(), RECORD)
