import os
import re
import subprocess
import sys

import pytest

from fedprivacy.torch import LocalTraining

pytest.importorskip("opacus", reason="needs the extra torch")
pytest.importorskip("sklearn", reason="needs the extra demo")


def test_the_example_prints_and_keeps_its_statement(project, tmp_path):
    kept = tmp_path / "statement.json"
    done = subprocess.run(
        [sys.executable, project / "examples/torch-dpsgd/train.py", "--steps", "3", "--out", kept],
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=True,
    )
    statement = LocalTraining.from_json(kept.read_bytes())
    assert (statement.unit, statement.steps) == ("example", 3)
    assert done.stdout.startswith(str(statement))
    assert re.search(r"^noise: opacus' floats from torch's generator", done.stdout, re.MULTILINE)
    assert re.search(r"^\d+\.\d% of 400 digits", done.stdout, re.MULTILINE)
