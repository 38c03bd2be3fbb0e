"""Record what ``comdefend serve`` does under load: ``python -m tools.service_load``.

First its images a second beside those of the engine alone, which computes as many images at once as
the service did; both take turns, so that whatever else the machine does slows both. Then a minute
of 64 clients that send good, bad, huge and hostile bodies. Clients, server and engine share one
machine.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
import torch

import comdefend
from comdefend.common.json_files import save_json
from comdefend.common.processor import Timed, processor_name, this_machine
from comdefend.data.shipped import image_crops
from comdefend.nn.images import to_bytes
from tools.service_clients import Clients, Mixed, encoded, figures
from tools.serving import Server

RECORD = Path(__file__).parent.parent / "docs" / "records" / "service-load.json"
WEIGHTS, SIDE, CLIENTS = "photo", 224, 64
FORMATS = ("jpeg", "png")
ROUNDS, ENGINE_SECONDS, SERVICE_SECONDS, SOAK_SECONDS = 7, 4.0, 6.0, 60.0
_MEGABYTES, _MEGAPIXELS = 4, 2


class Pace(NamedTuple):
    """Images a second, and the processor time of one in seconds."""

    per_second: float
    cpu: float


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Images a second, in each round.

    Attributes:
        format: Of the images, and of the answers.
        batch: Images that the service computed at once, on average.
        service, engine: Images a second of the service, and of the engine alone.
        ratio: The median of their ratios, round by round.
        service_cpu, engine_cpu: Seconds of processor time that an image took the server's process,
            and the engine's alone. On a machine that others use too, more threads get a larger
            share of it, which speeds up the service; not so these.
        cpu_ratio: The median of the engine's over the service's.
    """

    format: str
    batch: float
    service: tuple[float, ...]
    engine: tuple[float, ...]
    ratio: float
    service_cpu: tuple[float, ...]
    engine_cpu: tuple[float, ...]
    cpu_ratio: float


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    """What became of mixed requests.

    Attributes:
        seconds: How long they were sent.
        statuses: Kind of body -> status, or ``broken off`` by the client -> requests.
        images_per_second: Good images.
        p50, p95, p99: Seconds until a good one was answered.
        resident_before, resident_after: Bytes of the server in memory, after the first quarter of
            the time and in the end.
    """

    seconds: float
    statuses: dict[str, dict[str, int]]
    images_per_second: float
    p50: float
    p95: float
    p99: float
    resident_before: int
    resident_after: int


class ServiceLoad(Timed, frozen=True, kw_only=True):
    """What was measured.

    Attributes:
        processor: What its maker calls it.
        cores: So many, for clients, server and engine together.
        weights, precision, size, clients: What it was measured with.
        engine: What computed in the service and alone.
        load: The load of the machine before, as the system averages it over a minute.
        throughput: Of good images in each format.
        soak: Of mixed bodies.
    """

    processor: str | None
    cores: int
    weights: str
    engine: str
    precision: str
    size: tuple[int, int]
    clients: int
    load: float
    throughput: tuple[Throughput, ...]
    soak: Soak


def measure() -> ServiceLoad:
    """Return the record."""
    load = os.getloadavg()[0]
    engine = comdefend.open_engine(comdefend.load(WEIGHTS))
    with tempfile.TemporaryDirectory() as folder:
        limits = ("--max-megabytes", str(_MEGABYTES), "--max-megapixels", str(_MEGAPIXELS))
        server = Server(Path(folder, "log"), "--weights", WEIGHTS, *limits)
        try:
            found = tuple(throughput(server, engine, format) for format in FORMATS)
            soaked = soak(server, SOAK_SECONDS, CLIENTS)
            server.terminate()
            server.wait()
        finally:
            server.kill()
    return ServiceLoad(
        **this_machine("openvino", "starlette", "uvicorn", "h11"),
        threads=torch.get_num_threads(),
        processor=processor_name("cpu"),
        cores=os.cpu_count() or 1,
        weights=WEIGHTS,
        engine=engine.name,
        precision=engine.precision,
        size=(SIDE, SIDE),
        clients=CLIENTS,
        load=load,
        throughput=found,
        soak=soaked,
    )


def throughput(
    server: Server, engine: Callable[[torch.Tensor], torch.Tensor], format: str
) -> Throughput:
    """Measure images a second in one format, the service and the engine in turns."""
    crops = image_crops(3, 32, SIDE, SIDE)
    bodies = [encoded(crop, format) for crop in crops]
    order = count()

    def request() -> tuple[str, str, bytes]:
        return "good", f"/purify?format={format}", bodies[next(order) % len(bodies)]

    # The first requests of a process take longer.
    Clients(server.port, request).run(2, CLIENTS)
    service, alone, batches = [], [], []
    for _ in range(ROUNDS):
        before, worked = figures(server.port), _cpu_seconds(server)
        clients = Clients(server.port, request)
        clients.run(SERVICE_SECONDS, CLIENTS)
        spent, after = _cpu_seconds(server) - worked, figures(server.port)
        images, calls = (
            after[name] - before[name]
            for name in ("comdefend_batch_images_sum", "comdefend_batch_images_count")
        )
        batches.append(images / calls)
        service.append(Pace(clients.good_per_second, spent / images))
        alone.append(_engine_alone(engine, crops, round(images / calls)))
    pairs = list(zip(service, alone, strict=True))
    return Throughput(
        format=format,
        batch=statistics.mean(batches),
        service=tuple(pace.per_second for pace in service),
        engine=tuple(pace.per_second for pace in alone),
        ratio=statistics.median(a.per_second / b.per_second for a, b in pairs),
        service_cpu=tuple(pace.cpu for pace in service),
        engine_cpu=tuple(pace.cpu for pace in alone),
        cpu_ratio=statistics.median(b.cpu / a.cpu for a, b in pairs),
    )


def soak(server: Server, seconds: float, clients: int) -> Soak:
    """Send mixed bodies, and count what becomes of them."""
    process = psutil.Process(server.process.pid)
    mixed = Mixed(_MEGABYTES, SIDE)
    first = Clients(server.port, mixed)
    first.run(seconds / 4, clients)
    before = process.memory_info().rss
    rest = Clients(server.port, mixed)
    rest.run(3 * seconds / 4, clients)
    after = process.memory_info().rss
    statuses: dict[str, dict[str, int]] = {}
    for kind, status, _ in (*first.ended, *rest.ended):
        of_kind = statuses.setdefault(kind, {})
        of_kind[status] = of_kind.get(status, 0) + 1
    times = [took for kind, status, took in rest.ended if (kind, status) == ("good", "200")]
    cuts = statistics.quantiles(times, n=100)
    return Soak(
        seconds=seconds,
        statuses=statuses,
        images_per_second=rest.good_per_second,
        p50=cuts[49],
        p95=cuts[94],
        p99=cuts[98],
        resident_before=before,
        resident_after=after,
    )


def _engine_alone(
    engine: Callable[[torch.Tensor], torch.Tensor], crops: torch.Tensor, batch: int
) -> Pace:
    """Return the pace of an engine that is given bytes and returns bytes."""
    began, worked, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < ENGINE_SECONDS:
        images = crops[torch.arange(done, done + batch) % len(crops)]
        to_bytes(engine(images.float() / 255))
        done += batch
    spent = time.process_time() - worked
    return Pace(done / (time.perf_counter() - began), spent / done)


def _cpu_seconds(server: Server) -> float:
    times = psutil.Process(server.process.pid).cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    save_json(measure(), RECORD)
