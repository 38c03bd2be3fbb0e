"""Record what engines cost in use: ``python -m tools.engine_use``.

How long ``comdefend purify`` takes for one photograph, from the command to its end, and the most
memory that it holds; beside it a process that only imports torch. And how many images a second an
engine purifies for one, two and four threads that call it, in the precision that ``auto`` takes and
in float32. All take turns, round after round; documents show medians.
"""

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import skimage.data
import torch
from PIL import Image

import comdefend
from comdefend.common.defaults import RECOMMENDED
from comdefend.common.json_files import save_json
from comdefend.common.processor import Timed, this_machine
from comdefend.data.shipped import image_crops

RECORD = Path(__file__).parent.parent / "docs" / "records" / "engine-use.json"
ENGINES = ("openvino", "onnxruntime", "torch")
SIDE, ROUNDS, CALLS = 224, 5, 8
CALLERS = (1, 2, 4)

# Told by the process itself: what its parent sees counts the parent's memory too.
_TELLING = (
    "import atexit, time; atexit.register(lambda: print(time.process_time(), "
    "open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])); "
)


class First(msgspec.Struct, frozen=True):
    """One photograph, purified by a process of its own, or the import that it is compared with.

    Attributes:
        engine: What computed it; ``import torch`` where nothing was computed.
        seconds: From the command to its end, in each round.
        cpu_seconds: Of the processor, over all threads, in each round.
        resident_mb: The most memory that it held, in MB of 10^6 bytes.
    """

    engine: str
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    resident_mb: float


class Called(msgspec.Struct, frozen=True):
    """Images a second of an engine, called by some threads at once, in each round."""

    engine: str
    precision: str
    callers: int
    rates: tuple[float, ...]


class EngineUse(Timed, frozen=True, kw_only=True):
    """What was measured."""

    weights: str
    side: int
    rounds: int
    first: tuple[First, ...]
    called: tuple[Called, ...]


def main() -> None:
    """Measure and write the record."""
    record = EngineUse(
        **this_machine("openvino", "onnxruntime"),
        threads=torch.get_num_threads(),
        weights=RECOMMENDED,
        side=SIDE,
        rounds=ROUNDS,
        first=first_images(),
        called=callers(),
    )
    save_json(record, RECORD)
    for first in record.first:
        print(first.engine, statistics.median(first.seconds), first.resident_mb)
    for called in record.called:
        print(called.engine, called.precision, called.callers, statistics.median(called.rates))


def first_images() -> tuple[First, ...]:
    """Time and weigh processes that purify one photograph."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.png"
        Image.fromarray(skimage.data.astronaut()).resize((SIDE, SIDE)).save(photo)
        purify = ["purify", str(photo), str(Path(folder) / "out.png"), "--overwrite", "--engine"]
        commands = {"import torch": ["import torch"]} | {
            engine: ["from comdefend.cli import main; main()", *purify, engine]
            for engine in ENGINES
        }
        measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
        for turn in range(1 + ROUNDS):
            for name, arguments in commands.items():
                result = _process(arguments)
                # The first turn brings the files into the system's cache.
                if turn > 0:
                    measured[name].append(result)
    found = []
    for name, results in measured.items():
        seconds, cpu_seconds, resident = zip(*results, strict=True)
        found.append(First(name, seconds, cpu_seconds, max(resident)))
    return tuple(found)


def _process(arguments: Sequence[str]) -> tuple[float, float, float]:
    """Run a line of Python; return its seconds, those of the processor, and its memory in MB."""
    line, *rest = arguments
    began = time.perf_counter()
    child = subprocess.run(
        [sys.executable, "-c", _TELLING + line, *rest], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - began
    cpu_seconds, kilobytes = child.stdout.split()[-2:]
    return seconds, float(cpu_seconds), int(kilobytes) * 1024 / 1e6


def callers() -> tuple[Called, ...]:
    """Time engines that several threads call."""
    purifier, images = comdefend.load(RECOMMENDED), image_crops(3, 1, SIDE, SIDE).float() / 255
    kinds = dict.fromkeys((name, p) for name in ENGINES for p in ("auto", "float32"))
    engines = [comdefend.open_engine(purifier, *kind) for kind in kinds]
    distinct = {(engine.name, engine.precision): engine for engine in engines}
    rates: dict[tuple[str, str, int], list[float]] = {}
    for turn in range(1 + ROUNDS):
        for (name, precision), engine in distinct.items():
            for count in CALLERS:
                rate = _rate(partial(engine, images), count)
                if turn > 0:
                    rates.setdefault((name, precision, count), []).append(rate)
    return tuple(Called(*which, tuple(found)) for which, found in rates.items())


def _rate(call: Callable[[], object], callers: int) -> float:
    """Return calls per second of so many threads."""

    def work() -> None:
        for _ in range(CALLS // callers):
            call()

    threads = [threading.Thread(target=work) for _ in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return CALLS / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
