"""The command line within this process, and one run of the demo as a user has it."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedprivacy.cli import main

FEDPRIVACY = Path(sys.executable).with_name("fedprivacy")


@dataclass
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Runs a command in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def run(*words):
        with pytest.raises(SystemExit) as exit_:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return Ended(exit_.value.code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """`fedprivacy demo --json` in an empty folder: how it ended, and that folder."""
    folder = tmp_path_factory.mktemp("empty")
    done = subprocess.run(
        [FEDPRIVACY, "demo", "--json"], cwd=folder, capture_output=True, text=True, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr), folder


@pytest.fixture
def hospitals(project):
    return project / "examples" / "hospitals"


@pytest.fixture
def small(hospitals, tmp_path):
    """A folder with the example's files, to be changed; its job has two rounds and no losses."""
    folder = tmp_path / "small"
    folder.mkdir()
    shutil.copytree(hospitals / "policies", folder / "policies")
    for name in ("privacy.toml", "client.toml"):
        (folder / name).write_text((hospitals / name).read_text("utf-8"), "utf-8")
    job = (hospitals / "job.toml").read_text("utf-8").replace("rounds = 11", "rounds = 2")
    (folder / "job.toml").write_text(job.partition("[faults]")[0], "utf-8")
    return folder
