"""What leaves a node, whatever a server asks: nothing in the clear that its data decides."""

import logging
import os

import numpy as np
import pytest
from flwr.app import Array, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from fedprivacy.errors import ConfigurationError
from fedprivacy.flower import PrivateStrategy, privacy_mod
from fedprivacy.flower.client_folder import ClientFolder, own_folder
from fedprivacy.flower.records import Answer, unpack
from fedprivacy.rounds import RunRecord
from flower_loop import (
    CONSISTENCY,
    FIRST_NODE,
    INPUT,
    NOISY,
    PLAN,
    model,
    through,
    unreadable,
    vector,
)

NODES = {"min_train_nodes": 4, "min_available_nodes": 4}


def start(home, *, rounds=1, inner=None, **options):
    inner = FedAvg(**NODES, min_evaluate_nodes=4) if inner is None else inner
    ledger = ":memory:" if home.plan.noise.trust.value != "none" else None
    strategy = PrivateStrategy(
        inner, plan=home.plan, directory=home.directory, ledger=ledger, phase_timeout=1.0, **options
    )
    return strategy.start(home.grid, model(), num_rounds=rounds, timeout=1.0)


def sent_to(home, kind, content):
    message = Message(content, dst_node_id=FIRST_NODE, message_type=kind)
    return home.grid.answer(through(message))


def allow(home, *kinds):
    """Each node's policy answers these in the clear."""
    for number in range(len(home.nodes)):
        file = home.files.node(number) / "client.toml"
        words = ", ".join(f'"{kind}"' for kind in kinds)
        text = file.read_text().replace("store =", f"clear = [{words}]\nstore =", 1)
        file.write_text(text)


# ------------------------------------------------------------------ in the clear


def test_an_ordinary_training_message_is_not_trained_on(house):
    home = house()
    content = RecordDict({"arrays": model(), "config": ConfigRecord({"server-round": 1})})
    reply = sent_to(home, "train", content)
    assert reply.has_error()
    assert "PrivateStrategy" in reply.error.reason
    assert not home.trainer.configs


@pytest.mark.parametrize("kind", ["evaluate", "query"])
def test_metrics_are_withheld_unless_the_policy_says_otherwise(house, kind):
    home = house()
    content = RecordDict({"arrays": model(), "config": ConfigRecord()})
    assert sent_to(home, kind, content).content == RecordDict(
        {"fedprivacy.withheld": MetricRecord()}
    )
    assert not home.trainer.evaluated
    allow(home, kind)
    (told,) = sent_to(home, kind, content).content.metric_records.values()
    assert told


def test_evaluation_is_withheld_by_default(house):
    home = house()
    allow(home, "evaluate")
    result = start(home)
    assert not home.trainer.evaluated
    assert result.evaluate_metrics_clientapp == {}


def test_an_open_evaluation_is_of_those_whose_policy_allows_it(house):
    home = house()
    allow(home, "evaluate")
    own = home.files.node(3) / "client.toml"
    own.write_text(own.read_text().replace('clear = ["evaluate"]', ""))
    result = start(home, evaluate="open")
    assert sorted(home.trainer.evaluated) == [0, 1, 2]
    assert result.evaluate_metrics_clientapp[1]["loss"] == pytest.approx(1.0)


def test_in_an_open_evaluation_a_reply_that_flower_cannot_read_costs_only_its_node(house):
    home = house()
    allow(home, "evaluate")
    home.grid.faults[home.nodes[3]][6] = unreadable
    result = start(home, evaluate="open")
    assert result.evaluate_metrics_clientapp[1]["loss"] == pytest.approx(1.0)
    assert not np.array_equal(vector(result.arrays), vector(model()))


# ------------------------------------------------------------------ a training that fails


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_under_noise_a_training_that_fails_looks_like_any_other(house, caplog, kind):
    home = house(plan=NOISY)
    home.trainer.fails = {1: kind("the patient is Erika Mustermann")}
    with caplog.at_level(logging.WARNING, "flwr"):
        result = start(home)
    sizes = {push[0].metadata.message_id: len(push) for push in home.grid.pushes[INPUT:CONSISTENCY]}
    assert list(sizes.values()) == [4]
    assert "an update of zeros is sent in its place" in caplog.text
    assert not np.array_equal(vector(result.arrays), vector(model()))


@pytest.mark.parametrize("small", [1e-308, -1e308])
def test_an_app_with_strict_arithmetic_makes_no_node_stand_out(house, tmp_path, small):
    home = house(plan=NOISY)
    app = type(home.trainer.app)(mods=[privacy_mod])

    @app.train()
    def train(message, context):
        np.seterr(all="raise")
        with np.errstate(all="ignore"):
            reply = home.trainer.train(message, context)
        if context.node_config["partition-id"] == 1:
            weights = np.full((2, 3), 1e308)
            weights[0, 0] = small
            reply.content["arrays"]["layer.weight"] = Array(weights)
        return reply

    home.grid.apps = dict.fromkeys(home.nodes, app)
    with np.errstate():
        start(home, folder=tmp_path / "run")
    record = RunRecord.from_json((tmp_path / "run" / "record.json").read_text())
    assert [a.refused for a in record.rounds[0].attempts] == [{}]
    assert len(record.rounds[0].attempts[0].survivors) == 4


def test_without_noise_a_training_that_fails_is_refused_with_a_code_alone(house, tmp_path):
    home = house()
    home.trainer.fails = {1: ValueError("the patient is Erika Mustermann")}
    replies = []
    delivered = home.grid.delivered
    home.grid.delivered = lambda message: replies.extend(got := delivered(message)) or got
    start(home, folder=tmp_path / "run")
    record = RunRecord.from_json((tmp_path / "run" / "record.json").read_text())
    assert record.rounds[0].attempts[0].refused == {"node-1": "failed"}
    assert not any("Mustermann" in repr(reply) for reply in replies)


def test_replies_have_one_size_whatever_a_client_trained(house):
    home = house()
    replies = []
    delivered = home.grid.delivered
    home.grid.delivered = lambda message: replies.extend(got := delivered(message)) or got
    start(home)
    by_phase = [replies[i : i + 4] for i in range(4, 24, 4)]
    for phase in by_phase:
        frames = [[len(f) for f in unpack(r.content, Answer).frames] for r in phase]
        assert all(sizes == frames[0] for sizes in frames)
        assert all(set(r.content) == {"fedprivacy"} for r in phase)


def test_a_missing_weight_is_a_training_that_failed(house, tmp_path):
    home = house()
    start(home, inner=FedAvg(**NODES, weighted_by_key="count"), folder=tmp_path / "run")
    record = (tmp_path / "run" / "rounds.jsonl").read_text()
    assert '"refused":{"node-0":"failed","node-1":"failed"' in record


def test_a_weight_above_the_plans_most_counts_as_it(house, caplog):
    home = house(plan=PLAN.replace("max_units_per_client = 100", "max_units_per_client = 12"))
    weights = []

    class Watched(FedAvg):
        def aggregate_train(self, server_round, replies):
            replies = list(replies)
            weights.append(replies[0].content["metrics"]["num-examples"])
            return super().aggregate_train(server_round, replies)

    start(home, inner=Watched(**NODES))
    assert weights == [10 + 11 + 12 + 12]


# ------------------------------------------------------------------ whose files


def test_a_node_says_where_its_client_is_and_nobody_else(tmp_path):
    bundles = (tmp_path / "apps",)
    absolute = str(tmp_path / "client.toml")
    assert own_folder({"fedprivacy-client": absolute}, {}, bundles) == tmp_path / "client.toml"
    shared = {"FEDPRIVACY_CLIENT": f"{tmp_path}/nodes/{{partition-id}}"}
    assert own_folder({"partition-id": 3}, shared, bundles) == tmp_path / "nodes" / "3"
    for config, environment, why in (
        ({}, {}, "names no client folder"),
        ({"fedprivacy-client": "client.toml"}, {}, "is relative"),
        ({"fedprivacy-client": str(tmp_path / "apps" / "evil")}, {}, "apps that servers send"),
        ({"fedprivacy-client": f"{tmp_path}/x/../apps/evil"}, {}, "apps that servers send"),
        ({}, shared, "which this node has not"),
        ({"fedprivacy-client": 3}, {}, "names no client folder"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            own_folder(config, environment, bundles)


def test_files_of_another_user_are_refused(house, monkeypatch):
    node = house().files.node(0)
    me = os.geteuid()
    for path in (node / "client.toml", node):
        if me == 0:
            os.chown(path, 12345, -1)
            other = 12345
        else:  # the files are those of another than who runs the node
            other = me
            monkeypatch.setattr(os, "geteuid", lambda: me + 1)
        with pytest.raises(ConfigurationError, match=f"{path} belongs to .* number {other}"):
            ClientFolder.open(node)
        if me == 0:
            os.chown(path, me, -1)


def test_a_link_is_as_safe_as_where_it_leads(house, nodes_folder):
    node, shared = house().files.node(0), nodes_folder / "shared"
    shared.mkdir()
    (node / "client.toml").rename(shared / "client.toml")
    (node / "client.toml").symlink_to(shared / "client.toml")
    ClientFolder.open(node).store.close()
    shared.chmod(0o777)
    with pytest.raises(ConfigurationError, match="shared has mode 0777"):
        ClientFolder.open(node)


def test_files_that_others_may_change_are_refused(house):
    home = house()
    node = home.files.node(0)
    with ClientFolder.open(node) as own:
        assert own.identity.client_id == "node-0"
    for path, mode in ((node / "client.toml", 0o620), (node, 0o722), (node / "node-0.key", 0o640)):
        before = path.stat().st_mode
        path.chmod(mode)
        with pytest.raises(ConfigurationError, match="has mode"):
            ClientFolder.open(node)
        path.chmod(before)
