import sys
from dataclasses import dataclass

import pytest

from comdefend.cli import main


@dataclass(frozen=True)
class Ended:
    code: int
    stdout: str
    stderr: str


@pytest.fixture
def cli(monkeypatch, capsys):
    """The command line, in this process: importing torch anew takes seconds each time."""

    def run(*arguments, **environment):
        for name, value in {"COLUMNS": "100", **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["comdefend", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            main()
        out = capsys.readouterr()
        return Ended(ending.value.code or 0, out.out, out.err)

    return run
