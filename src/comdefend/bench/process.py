"""A job in a process of its own, as seen from the benchmark."""

import os
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any, Self

import msgspec

from comdefend.bench.jobs import Job, Shape
from comdefend.bench.messages import Judge, Open, Opened, Quality, Refused, Request, Run, Timed
from comdefend.errors import EngineError


class Worker:
    """A process that holds one job, and computes only when asked.

    So memory is measured job by job, and any number can take turns. The process is not in the
    terminal's process group: Ctrl-C reaches only the benchmark, which then ends its workers. If the
    benchmark is killed, workers end because their input does.

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
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed by close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "comdefend.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            start_new_session=True,
        )
        try:
            answer = self._ask(Open(job, channels, shape, threads), Opened | Refused)
            if isinstance(answer, Refused):
                raise EngineError(answer.reason)
        except BaseException:
            self.close()
            raise
        self.estimate: float = answer.seconds
        self.base_mb: float = answer.base_mb
        self.resident_mb: float = answer.resident_mb

    def time(self, calls: int) -> float:
        """Return the mean seconds of so many calls.

        Raises:
            EngineError: The process has died.
        """
        answer: Timed = self._ask(Run(calls), Timed)
        self.resident_mb = answer.resident_mb
        return answer.seconds

    def quality(self) -> Quality:
        """Return how a purifier's output compares with float32 torch's, and with its images.

        Raises:
            EngineError: The process has died.
        """
        answer: Quality = self._ask(Judge(), Quality)
        return answer

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.communicate()
        self._stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, request: Open | Request, kind: Any) -> Any:
        """Send a request, and return the answer as the kind of message that is expected."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(msgspec.json.encode(request) + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if line:
            return msgspec.json.decode(line, type=kind)
        code = self._process.wait()
        self._stderr.seek(0)
        last = (self._stderr.read().strip().splitlines() or [""])[-1]
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        raise EngineError(f"its process {how}" + (f": {last}" if last else ""))
