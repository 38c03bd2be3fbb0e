import pytest

from tools.package import UV, build


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The source distribution, and the wheel that is built from it."""
    if not UV.is_file():
        pytest.skip("uv is not in the environment of the tests")
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def wheel(built):
    return built[1]
