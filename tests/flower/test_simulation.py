"""The example as a user runs it: `flwr run`, with Flower's own simulation, offline."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedprivacy.ledger import BudgetKey, BudgetLedger
from fedprivacy.rounds import RunRecord

BIN = Path(sys.executable).parent
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
}


@pytest.fixture
def flower_home(tmp_path):
    """A home of its own for Flower, whose SuperLink outlives `flwr run` and is ended here."""
    home = tmp_path / "flwr"
    home.mkdir()
    yield home
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.endswith(b"flower-superlink") for word in words) and any(
            word.startswith(os.fsencode(home)) for word in words
        ):
            os.kill(int(process.name), signal.SIGTERM)


@pytest.fixture
def run(tmp_path, flower_home):
    """Runs a command in an app's folder, offline, with nodes whose files are in `nodes`."""
    pytest.importorskip("ray", reason="needs the extra flower")
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    environment = {
        **os.environ,
        **QUIET,
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
        "FLWR_HOME": str(flower_home),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "FEDPRIVACY_CLIENT": f"{tmp_path / 'nodes'}/nodes/{{partition-id}}",
    }

    def ended(*words):
        return subprocess.run(
            words,
            cwd=tmp_path / "app",
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        ).stdout

    return ended


def simulated(nodes):
    return "--federation-config", f"num-supernodes={nodes} client-resources-num-cpus=1"


@pytest.mark.nightly
def test_the_hospitals_run_in_flowers_own_simulation(project, tmp_path, run):
    shutil.copytree(project / "examples/flower/sklearn-hospitals", tmp_path / "app")
    nodes = tmp_path / "nodes"
    run("fedprivacy", "flower", "keys", "--nodes", "20", "--plan", "privacy.toml", str(nodes))
    config = f'rounds=2 nodes="{nodes}"'
    out = run("flwr", "run", ".", "--stream", "-c", config, *simulated(20))
    assert len(re.findall("the sum of 20 clients, one by one unseen", out)) == 2, out
    *_, last = map(float, re.findall(r"accuracy on held-out patients: \[(.*)\]", out)[0].split(","))
    assert last > 0.75
    with BudgetLedger(nodes / "budget.db", clock=lambda: 0) as ledger:
        budget = ledger.budget(BudgetKey("wisconsin-breast-cancer", "patient"))
    assert 0 < budget.charged < budget.terms.epsilon


@pytest.mark.nightly
def test_a_quickstart_that_became_private_runs_in_flowers_own_simulation(project, tmp_path, run):
    shutil.copytree(project / "tests/flower/apps/quickstart", tmp_path / "app")
    run("fedprivacy", "flower", "init", ".", "--yes")
    nodes = tmp_path / "nodes"
    run("fedprivacy", "flower", "keys", "--nodes", "4", "--plan", "privacy.toml", str(nodes))
    out = run("flwr", "run", ".", "--stream", *simulated(4))
    assert len(re.findall("the sum of 4 clients, one by one unseen", out)) == 3, out
    *_, last = map(float, re.findall(r"accuracy: \[(.*)\]", out)[0].split(","))
    assert last > 0.85


@pytest.mark.nightly
def test_the_histogram_runs_in_flowers_own_simulation(project, tmp_path, run):
    shutil.copytree(project / "examples/flower/analytics-histogram", tmp_path / "app")
    nodes = tmp_path / "nodes"
    run("fedprivacy", "flower", "keys", "--nodes", "10", "--plan", "privacy.toml", str(nodes))
    out = run("flwr", "run", ".", "--stream", "-c", f'nodes="{nodes}"', *simulated(10))
    assert "the median lies between" in out, out


@pytest.mark.nightly
def test_digits_are_learned_in_flowers_own_simulation(project, tmp_path, run):
    pytest.importorskip("opacus", reason="needs the extra torch")
    shutil.copytree(project / "examples/flower/torch-digits", tmp_path / "app")
    nodes = tmp_path / "nodes"
    run("fedprivacy", "flower", "keys", "--nodes", "10", "--plan", "privacy.toml", str(nodes))
    out = run("flwr", "run", ".", "--stream", "-c", f'rounds=2 nodes="{nodes}"', *simulated(10))
    assert len(re.findall("the sum of 10 clients, one by one unseen", out)) == 2, out
    first, *_, last = map(float, re.findall(r"held-out digits: \[(.*)\]", out)[0].split(","))
    assert last > first


@pytest.mark.nightly
def test_a_committee_opens_a_hospitals_run_in_flowers_own_simulation(project, tmp_path, run):
    """Five nodes train, three more are the committee's."""
    app = shutil.copytree(project / "examples/flower/sklearn-hospitals", tmp_path / "app")
    plan = (app / "deployment.toml").read_text().replace('"secagg"', '"oneshot"')
    committee = '[aggregation.committee]\nmembers = ["m-one", "m-two", "m-three"]\n\n[update]'
    (app / "oneshot.toml").write_text(plan.replace("[update]", committee))
    nodes = tmp_path / "nodes"
    run("fedprivacy", "flower", "keys", "--nodes", "5", "--plan", "oneshot.toml", str(nodes))
    record = tmp_path / "record"
    config = f'rounds=2 plan="oneshot.toml" nodes="{nodes}" supernodes=8 record="{record}"'
    out = run("flwr", "run", ".", "--stream", "-c", config, *simulated(8))
    assert len(re.findall("the sum of 5 clients, one by one unseen", out)) == 2, out
    found = RunRecord.from_json((record / "record.json").read_text())
    assert found.clients == tuple(f"node-{number}" for number in range(5))
    assert [phase.phase for phase in found.rounds[1].attempts[0].phases] == [
        "keys",
        "input",
        "opening",
        "consistency",
        "unmasking",
    ]


@pytest.mark.nightly
def test_a_quickstart_with_bfv_runs_in_flowers_own_simulation(project, tmp_path, run):
    pytest.importorskip("tenseal", reason="needs the extra he")
    app = shutil.copytree(project / "tests/flower/apps/quickstart", tmp_path / "app")
    run("fedprivacy", "flower", "init", ".", "--yes")
    plan = app / "privacy.toml"
    text = plan.read_text().replace('protocol = "secagg"', 'protocol = "bfv"')
    plan.write_text(text.replace("corrupt = 1 ", "corrupt = 0 "))
    nodes, edited = tmp_path / "nodes", 0
    for path in app.rglob("*.py"):
        code = path.read_text()
        if "plan=Plan" in code:
            edited += 1
            key = nodes / "ceremony.server.key"
            path.write_text(code.replace("plan=Plan", f'ceremony="{key}", plan=Plan'))
    assert edited == 1
    run("fedprivacy", "flower", "keys", "--nodes", "4", "--plan", "privacy.toml", str(nodes))
    out = run("flwr", "run", ".", "--stream", *simulated(4))
    assert len(re.findall("the sum of 4 clients, one by one unseen", out)) == 3, out
