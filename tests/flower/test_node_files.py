"""The files of simulated nodes, by the two commands that make and check them."""

import pytest

from fedprivacy.cli import main
from fedprivacy.errors import ConfigurationError
from fedprivacy.flower.client_folder import ClientFolder
from fedprivacy.flower.node_files import NodeFiles, examine
from fedprivacy.randomness import SystemRng
from fedprivacy.rounds import Plan
from fedprivacy.rounds.privacy import check_accepts
from flower_loop import NOISY, PLAN


@pytest.fixture(autouse=True)
def state(nodes_folder, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(nodes_folder / "state"))


def run(*words):
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code


@pytest.mark.parametrize("text", [PLAN, NOISY, PLAN.replace('"secagg"', '"auto"')])
def test_a_nodes_policy_accepts_the_plan_that_it_was_made_for(nodes_folder, text):
    plan = Plan.parse(text)
    files = NodeFiles.make(nodes_folder / "nodes", 2, plan, rng=SystemRng())
    with ClientFolder.open(files.node(1)) as own:
        assert own.store.authority() is not None
        if "auto" not in text:
            check_accepts(plan, own.policy, cohort=4, length=10)


def test_keys_and_doctor_are_two_commands(nodes_folder, capsys):
    (nodes_folder / "privacy.toml").write_text(PLAN)
    folder = nodes_folder / "nodes"
    assert run("flower", "keys", "--nodes", 3, "--plan", nodes_folder / "privacy.toml", folder) == 0
    assert f'export FEDPRIVACY_CLIENT="{folder}/nodes/{{partition-id}}"' in capsys.readouterr().out
    assert run("flower", "doctor", folder) == 0
    out = capsys.readouterr().out
    assert [f"node-{i}, key" in out for i in range(4)] == [True, True, True, False]
    assert run("flower", "doctor", folder / "nodes" / "2" / "client.toml") == 0


def test_the_doctor_names_what_is_wrong(nodes_folder, capsys):
    files = NodeFiles.make(nodes_folder / "nodes", 2, Plan.parse(PLAN), rng=SystemRng())
    (files.node(0) / "node-0.key").chmod(0o644)
    assert run("flower", "doctor", files.folder) == 2
    assert "node-0.key has mode 0644: run chmod 600 on it" in capsys.readouterr().err
    (files.node(1) / "client.db").unlink()
    with pytest.raises(ConfigurationError, match="run `fedprivacy pin"):
        list(examine(files.node(1)))


def test_a_folder_is_never_made_twice(nodes_folder):
    plan = Plan.parse(PLAN)
    NodeFiles.make(nodes_folder / "nodes", 2, plan, rng=SystemRng())
    with pytest.raises(ConfigurationError, match="exists: name another folder"):
        NodeFiles.make(nodes_folder / "nodes", 2, plan, rng=SystemRng())
