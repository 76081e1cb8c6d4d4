"""The README shows what the code prints, and its examples run as they stand."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedprivacy.secagg import PROTOCOLS

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def readme(project):
    return (project / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def user(project, tmp_path_factory):
    """Runs a program in a folder that holds the examples and nothing else of the project."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(project / "examples", folder / "examples")
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "XDG_STATE_HOME": str(folder / "state")}

    def run(*command):
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return run


def blocks(readme, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (0, ("record", "show", "docs/example-run")),
        (1, ("compare", "docs/example-run/comparison.json")),
    ],
    ids=["demo", "compare"],
)
def test_what_it_shows_is_what_reporting_makes_of_what_was_kept(readme, project, place, words):
    printed = subprocess.run(
        [BIN / "fedprivacy", *words],
        env={**os.environ, "COLUMNS": "80"},
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    shown = blocks(readme, "text")
    assert len(shown) == 2
    assert shown[place] == printed, "run `make readme`"


def test_the_comparison_that_was_kept_is_of_every_protocol(project):
    kept = json.loads((project / "docs/example-run/comparison.json").read_text("utf-8"))
    assert [row["protocol"] for row in kept["rows"]] == list(PROTOCOLS)
    assert {row["outcome"] for row in kept["rows"]} == {"sum"}


def test_every_shell_example_runs(readme, user):
    examples = blocks(readme, "sh")
    assert len(examples) == 5
    for example in examples:
        done = user("bash", "-euo", "pipefail", "-c", example)
        assert done.returncode == 0, done.stderr


def test_every_python_example_runs(readme, user):
    # Those that are for Flower run in tests/flower/test_guides.py.
    examples = [block for block in blocks(readme, "python") if "flwr" not in block]
    for example, begins in zip(
        examples, ("+ Against a server that may lie", "Bound(epsilon=3.8"), strict=True
    ):
        done = user(sys.executable, "-c", example)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(begins)


def test_the_two_commands_are_there(readme, project):
    targets = re.findall(r"^(\w+):", (project / "Makefile").read_text("utf-8"), re.MULTILINE)
    for command in ("make demo", "make test", "make readme"):
        assert command in readme
        assert command.split()[1] in targets


def test_every_file_that_it_links_to_is_there(readme, project):
    for link in re.findall(r"\]\(([^)#]+)", readme):
        assert (project / link).exists(), link
