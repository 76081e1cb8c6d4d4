"""Every command explains itself, with an example, in plain text at 80 columns, and quickly."""

import subprocess
import sys

import pytest
from typer.main import get_command

from fedprivacy.cli.app import app


def commands(command, path=()):
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


ALL = list(commands(get_command(app)))


def test_the_commands_are_the_published_ones():
    assert sorted(" ".join(path) for path in ALL) == [
        "",
        "attack",
        "attack audit",
        "attack list",
        "attack run",
        "budget",
        "budget amend",
        "budget close",
        "budget epsilon",
        "budget export",
        "budget log",
        "budget open",
        "budget plan",
        "budget receipts",
        "budget rounds",
        "budget show",
        "budget statement",
        "budget verify",
        "certs",
        "certs issue",
        "certs new",
        "certs request",
        "certs revoke",
        "certs rotate",
        "certs show",
        "compare",
        "demo",
        "directory",
        "directory show",
        "directory sign",
        "flower",
        "flower doctor",
        "flower init",
        "flower keys",
        "join",
        "keys",
        "keys authority",
        "keys ceremony",
        "keys enroll",
        "keys new",
        "pin",
        "plan",
        "record",
        "record schema",
        "record show",
        "report",
        "run",
        "serve",
    ]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_help_ends_in_an_example(cli, path):
    done = cli(*path, "--help")
    assert (done.code, done.err) == (0, "")
    _, _, examples = done.out.partition("Example")
    lines = examples.strip().splitlines()[1:]
    assert lines
    for line in lines:
        assert line.strip().startswith(" ".join(["fedprivacy", *path]))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_no_help_shows_what_was_meant_for_a_terminal(cli, path):
    said = cli(*path, "--help").out
    assert "\\[" not in said
    assert "\x1b" not in said
    prose = said.partition("Example")[0]
    assert max(map(len, prose.splitlines())) <= 80


def test_without_a_command_the_help_is_printed(cli):
    assert cli().out == cli("--help").out


def test_the_version(cli):
    from importlib.metadata import version

    assert cli("--version").out == f"fedprivacy {version('fedprivacy')}\n"


def test_a_help_loads_no_room_and_no_library_that_computes():
    code = (
        "import sys; from fedprivacy.cli import main\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'sklearn', 'sqlalchemy', 'cryptography'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
