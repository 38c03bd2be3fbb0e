import pytest

from tests.integrations.clusters import started_cluster


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of a node with one core, to which others can be added."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with started_cluster() as started:
        yield started
