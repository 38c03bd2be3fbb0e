"""Mixed load on a real server: see tools/service_load.py."""

import pytest

from tools.service_load import soak
from tools.serving import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    log = tmp_path_factory.mktemp("load") / "log"
    running = Server(log, "--max-megabytes", "4", "--max-megapixels", "2")
    yield running
    running.kill()


def check(found):
    assert set(found.statuses["good"]) <= {"200", "503"}
    assert set(found.statuses["bad"]) <= {"422", "503"}
    assert set(found.statuses["huge"]) <= {"413", "503"}
    assert set(found.statuses["hostile"]) <= {"200", "413", "422", "503"}
    assert found.statuses["good"]["200"] > found.statuses["good"].get("503", 0)
    assert 0 < found.p50 <= found.p95 <= found.p99


def test_mixed_requests_are_answered_or_refused(server):
    check(soak(server, 4, 16))
    assert server.log.read_text().count("\n") == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_minute_of_64_clients_takes_no_memory(server):
    found = soak(server, 60, 64)
    check(found)
    assert sum(found.statuses["good"].values()) > 100
    # As much as allocators keep for themselves.
    assert found.resident_after < found.resident_before + 100_000_000
