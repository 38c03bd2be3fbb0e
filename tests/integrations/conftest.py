import pytest

from tests.integrations.clusters import ENVIRONMENT, started_cluster


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of a node with one core, to which others can be added."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with started_cluster() as started:
        yield started
