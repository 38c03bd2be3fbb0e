import pytest

from comdefend.bench import rounds
from comdefend.bench.jobs import PRODUCTS, Job
from comdefend.bench.messages import Quality
from comdefend.bench.rounds import Rounds
from comdefend.errors import EngineError

JOBS = [Job("purifier", "w", engine, "float32") for engine in ("slow", "missing", "fast")]


@pytest.fixture
def calls(monkeypatch):
    """Replace processes by counters: names of engines in the order in which they open and close."""
    calls = []

    class Counter:
        base_mb, resident_mb = 1.0, 10.0

        def __init__(self, job, channels, shape, threads):
            if job.engine == "missing":
                raise EngineError("not here")
            self.job, self.estimate = job, 25.0 if job.engine == "slow" else 0.001
            calls.append(job.engine)

        def time(self, count):
            calls.append((self.job.engine, count))
            return self.estimate

        def quality(self):
            return Quality(None, 0.0, 30.0)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            calls.append("closed")

    monkeypatch.setattr(rounds, "Worker", Counter)
    monkeypatch.setattr(rounds, "check_job", lambda job: None)
    monkeypatch.setattr(rounds, "job_flop", lambda *_: 10**9)
    return calls


def test_slow_jobs_sit_out_and_missing_ones_are_named(calls):
    turns = []
    session = Rounds({}, 7, 1, lambda _, count: turns.append(count))
    timings = {t.job.engine: t for t in session.time(JOBS, (1, 8, 8))}
    assert session.refused == {JOBS[1]: ("not here", (1, 8, 8))}
    assert len(timings["slow"].seconds) == rounds.FEWEST_ROUNDS
    assert len(timings["fast"].seconds) == 7
    assert ("fast", 300) in calls
    assert ("slow", 1) in calls
    assert timings["fast"].peaks["float32"] == [1000.0] * 7
    assert set(session.qualities) == {JOBS[0], JOBS[2]}
    assert sum(turns) == 3 * (1 + 7)
    assert calls.index("fast") < calls.index("closed")


def test_without_memory_each_job_is_alone_with_the_products(calls, monkeypatch):
    monkeypatch.setattr(rounds, "_free_mb", lambda: 0.0)
    session = Rounds({}, 3, 1, lambda *_: None)
    assert len(session.time(JOBS, (1, 8, 8))) == 2 * (1 + len(PRODUCTS))
    assert calls.index("closed") < calls.index("fast")
