"""A job in a process of its own, as the benchmark sees it."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from comdefend.bench.jobs import Job, Shape
from comdefend.errors import EngineError


class Worker:
    """A process that holds one job and computes only when asked.

    Memory is then the job's own, and any number can take turns. The process is no part of the
    terminal's group: Ctrl-C is for the benchmark alone, which ends it; where the benchmark itself
    is killed, the process ends with its input.

    Args:
        job: What to time.
        channels: Of the images.
        shape: Of the images.
        threads: How many compute.

    Raises:
        EngineError: The job cannot be done here; the message says why.
    """

    def __init__(self, job: Job, channels: int, shape: Shape, threads: int) -> None:
        self.job = job
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed by close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "comdefend.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            start_new_session=True,
        )
        first = {"job": asdict(job), "channels": channels, "shape": shape, "threads": threads}
        try:
            answer = self._ask(first)
            if "refused" in answer:
                raise EngineError(answer["refused"])
        except BaseException:
            self.close()
            raise
        self.estimate: float = answer["seconds"]
        self.base_mb: float = answer["base_mb"]
        self.resident_mb: float = answer["resident_mb"]

    def time(self, calls: int) -> float:
        """Return the seconds that each of so many calls takes.

        Raises:
            EngineError: The process has died.
        """
        answer = self._ask({"calls": calls})
        self.resident_mb = answer["resident_mb"]
        return answer["seconds"]

    def quality(self) -> dict[str, Any]:
        """Return how a purifier's output compares with float32 torch, and with its images.

        Raises:
            EngineError: The process has died.
        """
        return self._ask({"quality": True})

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.communicate()
        self._complaints.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._complaints.seek(0)
        last = (self._complaints.read().strip().splitlines() or [""])[-1]
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        raise EngineError(f"its process {how}" + (f": {last}" if last else ""))
