"""What `comdefend serve` refuses before it serves."""

import socket

import pytest

from comdefend.cli import main
from comdefend.errors import InputError
from comdefend.service.settings import Settings


@pytest.fixture
def serve(monkeypatch, capsys):
    """The command in this process, which must end by itself."""

    def run(*arguments, token=""):
        monkeypatch.setenv("COMDEFEND_TOKEN", token)
        monkeypatch.setattr("sys.argv", ["comdefend", "serve", "--port", "0", *arguments])
        with pytest.raises(SystemExit) as ending:
            main()
        (line,) = capsys.readouterr().err.strip().splitlines()
        return ending.value.code, line

    return run


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_without_a_token_it_is_for_this_machine_alone(serve, host):
    code, line = serve("--host", host)
    assert code == 2
    assert line == (
        f"error: host '{host}' can be reached from elsewhere, which needs a token: set "
        "COMDEFEND_TOKEN, or leave the host out"
    )


def test_hosts_of_this_machine_need_no_token():
    for host in ("127.0.0.1", "localhost", "127.0.0.2"):
        assert Settings(host=host).on_loopback
    assert not Settings(host="0.0.0.0", token="secret").on_loopback


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "99999"], "port must be from 0 to 65535"),
        (["--queue", "0"], "queue must be above 0"),
        (["--timeout", "-1"], "timeout must be above 0"),
        (["--timeout", "nan"], "timeout must be above 0"),
        (["--max-megabytes", "0"], "max_megabytes must be above 0"),
        (["--max-megapixels", "0"], "max_megapixels must be above 0"),
        (["--host", "no such host"], "host 'no such host' cannot be resolved"),
        (["--weights", "nothing"], "unknown weights 'nothing'"),
        (["--engine", "abacus"], "unknown engine 'abacus'"),
        (["--classifier", "magic"], "unknown classifier 'magic'"),
        (["--classes", "names.txt"], "describe a --classifier"),
        (["--classifier", "cifar10-small", "--crop", "-1"], "must not be negative"),
    ],
)
def test_wrong_usage_is_one_line(serve, arguments, message):
    code, line = serve(*arguments)
    assert code == 2
    assert line.startswith("error: ")
    assert message in line


def test_a_port_that_is_taken_is_a_failed_job(serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, line = serve("--port", port)
    assert code == 1
    assert line.startswith(f"error: cannot listen on 127.0.0.1, port {port} (")


def test_all_limits_are_checked_where_they_enter():
    with pytest.raises(InputError):
        Settings(seconds=float("nan"))
