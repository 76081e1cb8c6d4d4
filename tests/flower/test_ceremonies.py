"""Nodes that share a key: where it lies, who must not have it, and what is wrong with whose."""

import logging

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAvg

import ceremonies
from fedprivacy.cli import main
from fedprivacy.errors import ConfigurationError, MissingExtra
from fedprivacy.flower import PrivateStrategy, node_files, run, terms
from fedprivacy.flower.node_files import NodeFiles, examine
from fedprivacy.randomness import SystemRng
from fedprivacy.rounds import Plan, RunRecord
from fedprivacy.secagg import SHARED_KEYS, homomorphic
from flower_loop import BFV, CKKS, CURIOUS, DECRYPTING, ONE_SHOT, lost, model, vector

NODES = {"min_train_nodes": 4, "min_available_nodes": 4, "fraction_evaluate": 0.0}
FIRST = 1


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    pytest.importorskip("tenseal", reason="needs the extra he")
    ceremonies.ceremony("bfv", 1)
    ceremonies.keep(monkeypatch, run)


def start(home, **options):
    strategy = PrivateStrategy(
        FedAvg(**NODES),
        plan=home.plan,
        **{"ceremony": home.ceremony, "phase_timeout": 0.05, **options},
    )
    return strategy.start(home.grid, model(), num_rounds=1, timeout=0.05)


def assert_mean_over(home, result, parts):
    weight = sum(10 + part for part in parts)
    bound = home.plan.pipeline(len(vector(model())), 4).quantisation_bound(weight) / weight
    moved = vector(result.arrays) - vector(model())
    apart = np.max(np.abs(moved - home.trainer.mean(home.plan.update.clip, parts)))
    assert apart < bound + 1e-15


def file_of(home, part):
    return home.files.node(part) / "client.toml"


# ------------------------------------------------------------------ a round


def test_between_two_messages_a_client_is_asleep_and_its_key_is_in_its_file_alone(house):
    home = house(plan=BFV)
    asleep = []

    def look(message, answer):
        asleep.append([dict(context.state) for context in home.grid.contexts.values()])
        return [answer(message)]

    home.grid.faults[home.nodes[0]][DECRYPTING] = look
    result = start(home)
    assert_mean_over(home, result, [0, 1, 2, 3])
    (states,) = asleep
    key = ceremonies.ceremony("bfv")
    for state in states:
        sealed = state["fedprivacy"]["sealed"]
        assert len(sealed) < 4096 < len(key.context)
        assert key.membership not in sealed
    assert all(not context.state for context in home.grid.contexts.values())


@pytest.mark.parametrize(
    ("at", "gone", "survivors"),
    [
        (DECRYPTING, 3, [0, 1, 2, 3]),
        pytest.param(DECRYPTING, 1, [0, 1, 2, 3], marks=pytest.mark.nightly),
        pytest.param(FIRST, 1, [0, 1, 2], marks=pytest.mark.nightly),
    ],
)
def test_one_that_decrypts_is_enough(house, at, gone, survivors):
    home = house(plan=BFV)
    for node in home.nodes[4 - gone :]:
        home.grid.faults[node][at] = lost
    assert_mean_over(home, start(home), survivors)


@pytest.mark.nightly
@pytest.mark.parametrize(("at", "gone"), [(FIRST, 2), (DECRYPTING, 4)])
def test_too_few_are_no_sum(house, at, gone):
    home = house(plan=BFV.replace("min_clients", "attempts = 1\nmin_clients"))
    for node in home.nodes[4 - gone :]:
        home.grid.faults[node][at] = lost
    assert not start(home).arrays


# ------------------------------------------------------------------ what is wrong


def test_the_servers_part_must_be_there_and_be_the_servers(house):
    home = house(plan=BFV)
    with pytest.raises(ConfigurationError, match="needs the server's part of a key ceremony: pass"):
        start(home, ceremony=None)
    with pytest.raises(ConfigurationError, match=r"ceremony\.key is not this part of a key"):
        start(home, ceremony=home.files.node(0) / "ceremony.key")
    with pytest.raises(ConfigurationError, match=r"ceremony is for ckks where .* = bfv"):
        start(home, ceremony=ceremonies.ceremony("ckks").server_part)
    assert not home.grid.pushes


def test_a_ceremony_that_no_protocol_asks_for_is_refused(house):
    home = house(plan=CURIOUS)
    with pytest.raises(ConfigurationError, match="ceremony has no use with secagg"):
        start(home, ceremony=ceremonies.ceremony("bfv").server_part)


def test_a_node_without_the_key_is_named_before_anything_is_trained(house, caplog):
    home = house(plan=BFV)
    policy = file_of(home, 3)
    policy.write_text(policy.read_text().replace('ceremony = "ceremony.key"\n', ""))
    with caplog.at_level(logging.WARNING, "flwr"):
        result = start(home)
    assert f"node {home.nodes[3]} declines (failed; bfv needs the extra he and the" in caplog.text
    assert "run `fedprivacy flower doctor` there" in caplog.text
    assert "policy.ceremony is missing, and bfv needs the clients' part" in caplog.text  # its log
    assert home.grid.sent[home.nodes[3]] == 1
    assert_mean_over(home, result, [0, 1, 2])


def test_a_node_with_the_key_of_another_scheme_is_named(house, caplog):
    home = house(plan=BFV)
    key = home.files.node(3) / "ceremony.key"
    key.unlink()
    ceremonies.ceremony("ckks").save(key)
    with caplog.at_level(logging.WARNING, "flwr"):
        result = start(home)
    assert "key is for ckks, the plan says bfv" in caplog.text
    assert_mean_over(home, result, [0, 1, 2])


def test_a_node_with_the_key_of_another_ceremony_is_out(house, tmp_path):
    home = house(plan=BFV)
    key = home.files.node(3) / "ceremony.key"
    key.unlink()
    ceremonies.ceremony("bfv", 1).save(key)
    result = start(home, folder=tmp_path / "run")
    assert_mean_over(home, result, [0, 1, 2])
    record = RunRecord.from_json((tmp_path / "run" / "record.json").read_text())
    assert record.rounds[0].attempts[0].excluded == {"node-3": "ciphertext-mac"}


def missing():
    raise MissingExtra("he", "homomorphic aggregation")


def test_without_the_extra_the_server_says_so_before_it_asks(house, monkeypatch):
    home = house(plan=BFV)
    monkeypatch.setattr(terms, "require", missing)
    with pytest.raises(MissingExtra, match=r"pip install 'fedprivacy\[he\]'"):
        start(home)


def test_without_the_extra_a_node_is_named(house, monkeypatch, caplog):
    home = house(plan=BFV)
    monkeypatch.setattr(homomorphic, "require", missing)
    with (
        caplog.at_level(logging.WARNING, "flwr"),
        pytest.raises(ConfigurationError, match=r"no node takes part .* needs the extra he"),
    ):
        start(home)
    assert "pip install 'fedprivacy[he]'" in caplog.text
    assert not home.trainer.configs


# ------------------------------------------------------------------ keys and doctor


@pytest.fixture
def state(nodes_folder, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(nodes_folder / "state"))


def ended(*words):
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code


@pytest.mark.parametrize(
    "plan",
    [pytest.param(BFV, id="bfv"), pytest.param(CKKS, id="ckks", marks=pytest.mark.nightly)],
)
def test_keys_holds_a_ceremony_and_the_doctor_finds_it(nodes_folder, state, capsys, plan):
    (nodes_folder / "privacy.toml").write_text(plan)
    nodes = nodes_folder / "nodes"
    words = "flower", "keys", "--nodes", 2, "--plan", nodes_folder / "privacy.toml", nodes
    assert ended(*words) == 0
    assert (
        f"ceremony, for PrivateStrategy:  {nodes / 'ceremony.server.key'}"
        in capsys.readouterr().out
    )
    assert ended("flower", "doctor", nodes) == 0
    assert f"ceremony      {nodes / 'nodes' / '0' / 'ceremony.key'}, for" in capsys.readouterr().out
    key = nodes / "nodes" / "0" / "ceremony.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    assert ended("flower", "doctor", nodes) == 2
    assert "chmod 600" in capsys.readouterr().err


def test_the_doctor_names_a_ceremony_that_is_not_there(nodes_folder, state):
    files = NodeFiles.make(nodes_folder / "nodes", 2, Plan.parse(BFV), rng=SystemRng())
    policy = files.node(0) / "client.toml"
    policy.write_text(policy.read_text().replace('ceremony = "ceremony.key"\n', ""))
    with pytest.raises(ConfigurationError, match="ceremony is missing, which bfv needs: name the"):
        list(examine(files.node(0)))


def test_keys_gives_each_member_a_node_and_the_doctor_says_who_it_is(nodes_folder, state, capsys):
    (nodes_folder / "privacy.toml").write_text(ONE_SHOT)
    nodes = nodes_folder / "nodes"
    words = "flower", "keys", "--nodes", 3, "--plan", nodes_folder / "privacy.toml", nodes
    assert ended(*words) == 0
    said = capsys.readouterr().out
    assert f"m-two, of the committee: {nodes / 'nodes' / '4'}" in said
    assert "run the simulation with 6 nodes" in said
    assert ended("flower", "doctor", nodes) == 0
    assert capsys.readouterr().out.count("this node is a member of the committee") == 3


def test_no_folder_is_left_where_no_ceremony_can_be_held(nodes_folder, state, monkeypatch):
    monkeypatch.setattr(SHARED_KEYS["bfv"], "ceremony", lambda rng: missing(), raising=False)
    with pytest.raises(MissingExtra):
        NodeFiles.make(nodes_folder / "nodes", 2, Plan.parse(BFV), rng=SystemRng())
    assert not (nodes_folder / "nodes").exists()
    assert node_files.names_of(2, Plan.parse(BFV)) == ["node-0", "node-1"]
