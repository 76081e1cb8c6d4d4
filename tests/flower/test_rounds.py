"""A round over a Grid in which nodes are lost, late, broken or hostile."""

import json
import logging
import shutil
from collections import Counter
from threading import Event

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp.strategy import FedAvg
from httpx import ConnectError

from fedprivacy.errors import ConfigurationError, Reason
from fedprivacy.flower import PrivateStrategy, polling, privacy_mod
from fedprivacy.flower.node_files import NodeFiles
from fedprivacy.flower.polling import time_to_live
from fedprivacy.flower.records import RECORD, VERSION, Answer, Exchange, pack, unpack
from fedprivacy.randomness import SystemRng
from fedprivacy.rounds import Refusal, RoundServer, RunRecord
from fedprivacy.rounds.messages import reason_of
from fedprivacy.wire import decode
from flower_loop import (
    CONSISTENCY,
    CURIOUS,
    INPUT,
    KEYS,
    PLAIN,
    PLAN,
    SHARES,
    UNMASKING,
    error,
    garbage,
    lost,
    model,
    other_record,
    too_late,
    twice,
    unreadable,
    vector,
)

NODES = {"min_train_nodes": 4, "min_available_nodes": 4, "fraction_evaluate": 0.0}
MANY = 300_000
PHASES = (KEYS, SHARES, INPUT, CONSISTENCY, UNMASKING)


def start(home, *, rounds=1, timeout=0.2, inner=None, **options):
    strategy = PrivateStrategy(
        FedAvg(**NODES) if inner is None else inner,
        plan=home.plan,
        directory=home.directory,
        phase_timeout=options.pop("phase_timeout", 0.2),
        **options,
    )
    return strategy.start(home.grid, model(), num_rounds=rounds, timeout=timeout)


def moved(result):
    return vector(result.arrays) - vector(model())


def assert_mean_over(home, result, parts):
    weight = sum(10 + part for part in parts)
    bound = home.plan.pipeline(len(vector(model())), 4).quantisation_bound(weight) / weight
    apart = np.max(np.abs(moved(result) - home.trainer.mean(home.plan.update.clip, parts)))
    assert apart < bound + 1e-15


# ------------------------------------------------------------------ exchanges


@pytest.mark.parametrize(("plan", "exchanges"), [(CURIOUS, 4), (PLAIN, 1)])
def test_a_round_takes_as_many_exchanges_as_it_has_phases(house, plan, exchanges):
    home = house(plan=plan)
    result = start(home, rounds=2)
    assert [len(push) for push in home.grid.pushes] == [4] * (1 + 2 * exchanges)
    assert np.any(moved(result))


def test_the_model_is_sent_once_a_round_to_each_node(house):
    home = house()
    start(home)
    assert len(home.grid.pushes) == 1 + 5
    carrying = [i for i, push in enumerate(home.grid.pushes) if "arrays" in push[0].content]
    assert carrying == [INPUT]


def test_a_long_vector_travels_in_an_array(house):
    home = house()
    app = ClientApp(mods=[privacy_mod])

    @app.train()
    def train(message, context):
        arrays = ArrayRecord({"w": Array(np.full(MANY, 1e-4))})
        content = {"arrays": arrays, "metrics": MetricRecord({"num-examples": 5})}
        return Message(RecordDict(content), reply_to=message)

    home.grid.apps = dict.fromkeys(home.nodes, app)
    strategy = PrivateStrategy(FedAvg(**NODES), plan=home.plan, directory=home.directory)
    result = strategy.start(home.grid, ArrayRecord({"w": Array(np.zeros(MANY))}), num_rounds=1)
    bound = home.plan.pipeline(MANY, 4).quantisation_bound(20) / 20
    assert np.max(np.abs(result.arrays["w"].numpy() - 1e-4)) < bound


def test_a_message_waits_for_a_node_that_is_away_not_much_longer_than_its_phase(house):
    home = house()
    start(home, phase_timeout=5.0, timeout=40.0)
    kept = [{message.metadata.ttl for message in push} for push in home.grid.pushes]
    assert kept == [{340.0} if phase == INPUT else {305.0} for phase in range(6)]
    assert time_to_live(3.0, 40.0) == 3.0  # what the strategy says of its own


# ------------------------------------------------------------------ losses


@pytest.mark.parametrize(
    ("phase", "fault"),
    [*((phase, lost) for phase in PHASES), (SHARES, error), (INPUT, too_late)],
)
def test_a_round_survives_a_node_that_is_lost(house, phase, fault):
    home = house()
    home.grid.faults[home.nodes[2]][phase] = fault
    result = start(home, phase_timeout=0.05, timeout=0.05)
    survivors = [0, 1, 2, 3] if phase > INPUT else [0, 1, 3]
    assert_mean_over(home, result, survivors)


@pytest.mark.parametrize(
    ("phase", "fault"),
    [(KEYS, other_record), (SHARES, garbage), (INPUT, garbage), (UNMASKING, garbage)],
)
def test_only_a_node_that_sends_garbage_is_out(house, phase, fault, tmp_path):
    home = house()
    home.grid.faults[home.nodes[1]][phase] = fault
    result = start(home, folder=tmp_path / "run")
    assert_mean_over(home, result, [0, 1, 2, 3] if phase > INPUT else [0, 2, 3])
    record = RunRecord.from_json((tmp_path / "run" / "record.json").read_text())
    assert record.rounds[0].attempts[0].excluded == {"node-1": "malformed"}


def test_of_a_flood_of_frames_only_the_first_is_read(house, monkeypatch):
    home = house()
    receive, heard = RoundServer.receive, Counter()

    def counted(self, sender, frame):
        heard[sender] += 1
        return receive(self, sender, frame)

    def flood(message, answer):
        answer(message)
        return [Message(pack(Answer((b"",) * 1000)), reply_to=message)]

    monkeypatch.setattr(RoundServer, "receive", counted)
    home.grid.faults[home.nodes[1]][KEYS] = flood
    result = start(home)
    assert_mean_over(home, result, [0, 2, 3])
    assert heard["node-1"] == 1


@pytest.mark.parametrize("phase", PHASES)
def test_a_reply_that_flower_cannot_read_costs_only_its_node(house, phase):
    home = house()
    home.grid.faults[home.nodes[2]][phase] = unreadable
    result = start(home)
    assert_mean_over(home, result, [0, 1, 2, 3] if phase > INPUT else [0, 1, 3])


def test_a_pull_that_does_not_end_costs_only_its_node(house, monkeypatch):
    """A node has announced a reply that it does not upload: Flower waits for it in the pull."""
    home = house()
    stuck, released = home.nodes[1], Event()
    monkeypatch.setattr(polling, "_PATIENCE", 0.05)
    monkeypatch.setattr(polling, "_GRACE", 0.05)

    class Waiting(type(home.grid)):
        def pull_messages(self, message_ids):
            (message_id,) = message_ids
            message = self.waiting.get(message_id)
            if message and message.metadata.dst_node_id == stuck and self.sent[stuck] == INPUT:
                released.wait(60.0)
            return super().pull_messages(message_ids)

    home.grid.__class__ = Waiting
    try:
        result = start(home, phase_timeout=5.0, timeout=5.0)
        assert_mean_over(home, result, [0, 2, 3])
    finally:
        released.set()


def test_a_reply_is_of_the_node_that_was_asked_whatever_it_says(house, tmp_path):
    home = house()
    liar = home.nodes[0]

    class Told(type(home.grid)):
        def pull_messages(self, message_ids):
            replies = super().pull_messages(message_ids)
            for reply in replies:
                if reply.metadata.src_node_id == liar:
                    others = [m for m in self.pushes[-1] if m.metadata.dst_node_id != liar]
                    about = reply.metadata.__dict__
                    about["_reply_to_message_id"] = others[0].metadata.message_id
            return replies

    home.grid.__class__ = Told
    result = start(home, folder=tmp_path / "run")
    assert_mean_over(home, result, [0, 1, 2, 3])
    record = RunRecord.from_json((tmp_path / "run" / "record.json").read_text())
    assert record.rounds[0].attempts[0].excluded == {}


def test_a_superlink_that_is_gone_ends_the_run(house):
    home = house()

    def gone(message, answer):
        raise ConnectError("connection refused")

    home.grid.faults[home.nodes[0]][SHARES] = gone
    with pytest.raises(ConnectError):
        start(home)


def test_a_node_that_refuses_the_app_is_named(house):
    home = house()
    for node in home.nodes:
        home.grid.faults[node][0] = refused_app
    with pytest.raises(ConfigurationError, match="takes trusted apps alone"):
        start(home)


def refused_app(message, answer):
    return [Message(Error(ErrorCode.INVALID_FAB, "not verified"), reply_to=message)]


def test_a_reply_that_comes_twice_counts_once(house):
    home = house()
    for node in home.nodes:
        home.grid.faults[node] = dict.fromkeys(range(10), twice)
    result = start(home)
    assert_mean_over(home, result, [0, 1, 2, 3])


def test_a_second_attempt_is_made_where_the_first_lost_too_many(house, tmp_path):
    home = house()
    for node in home.nodes[:2]:
        home.grid.faults[node][KEYS] = lost
    result = start(home, phase_timeout=0.05, folder=tmp_path / "run")
    assert_mean_over(home, result, [0, 1, 2, 3])
    (line,) = (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()
    attempts = json.loads(line)["attempts"]
    assert [a["outcome"] for a in attempts] == ["aborted", "sum"]
    assert [a["reason"] for a in attempts] == ["too-few", ""]


def test_a_dead_node_is_asked_once_in_an_attempt(house):
    home = house()
    dead = home.nodes[2]
    home.grid.faults[dead] = dict.fromkeys(range(KEYS, 20), lost)
    start(home, phase_timeout=0.05, timeout=0.05)
    assert home.grid.sent[dead] == 1 + KEYS


def test_a_round_without_a_sum_leaves_the_model_and_the_run_goes_on(house, caplog):
    home = house()
    for node in home.nodes[:2]:
        home.grid.faults[node] = {KEYS: lost, SHARES: lost}  # in both attempts
    seen = []
    strategy = PrivateStrategy(
        FedAvg(**NODES), plan=home.plan, directory=home.directory, phase_timeout=0.05
    )
    with caplog.at_level(logging.WARNING, "flwr"):
        result = strategy.start(
            home.grid,
            model(),
            num_rounds=2,
            evaluate_fn=lambda number, arrays: seen.append((number, vector(arrays))),
        )
    assert [number for number, _ in seen] == [0, 1, 2]
    assert np.array_equal(seen[1][1], seen[0][1])
    assert not np.array_equal(seen[2][1], seen[1][1])
    assert np.array_equal(vector(result.arrays), seen[2][1])
    assert "a round without a sum (too-few)" in caplog.text


# ------------------------------------------------------------------ other users' mistakes


def test_a_node_without_the_mod_is_named_with_the_remedy(house, caplog):
    home = house()
    bare = ClientApp()
    bare.train()(home.trainer.train)
    home.grid.apps[home.nodes[3]] = bare
    with caplog.at_level(logging.WARNING, "flwr"):
        result = start(home)
    assert_mean_over(home, result, [0, 1, 2])
    assert f"node {home.nodes[3]} does not speak for itself: is privacy_mod" in caplog.text


def test_a_run_in_which_no_node_has_the_mod_ends_with_the_reason(house):
    home = house(mods=())
    with pytest.raises(ConfigurationError, match=r"no node takes part .*; node .*privacy_mod"):
        start(home)


def test_two_nodes_with_one_client_folder_are_told_apart(house, caplog, tmp_path):
    home = house()
    home.grid.contexts[home.nodes[3]].node_config["fedprivacy-client"] = str(home.files.node(2))
    with caplog.at_level(logging.WARNING, "flwr"):
        start(home, folder=tmp_path / "run")
    assert "is node-2, as is node" in caplog.text
    record = RunRecord.from_json((tmp_path / "run" / "record.json").read_text())
    assert record.rounds[0].attempts[0].excluded == {}
    assert set(record.clients) == {"node-0", "node-1", "node-2"}


@pytest.mark.parametrize("plan", [PLAN, CURIOUS], ids=["directory", "none"])
def test_a_node_that_comes_back_under_a_new_id_takes_part_again(house, tmp_path, plan):
    home = house(plan=plan)

    def at(number, arrays):
        if number == 1:
            home.grid.restart(home.nodes[3])

    strategy = PrivateStrategy(
        FedAvg(min_train_nodes=4, min_available_nodes=4, fraction_evaluate=0.0),
        plan=home.plan,
        directory=home.directory,
        folder=tmp_path / "run",
    )
    strategy.start(home.grid, model(), num_rounds=3, timeout=5.0, evaluate_fn=at)
    record = RunRecord.from_json((tmp_path / "run" / "record.json").read_text())
    assert [len(r.attempts[0].survivors) for r in record.rounds] == [4, 4, 4]


def test_a_second_node_of_one_client_waits_until_the_first_is_gone(house, caplog, tmp_path):
    home = house()
    old = home.nodes[3]
    home.grid.contexts[old].node_config["fedprivacy-client"] = str(home.files.node(2))

    def at(number, arrays):
        if number == 1:
            # The first of the two to be asked has it; the other is there when it leaves.
            (first,) = {home.nodes[2], old} & {m.metadata.dst_node_id for m in home.grid.pushes[1]}
            del home.grid.contexts[first]

    strategy = PrivateStrategy(
        FedAvg(min_train_nodes=3, min_available_nodes=3, fraction_evaluate=0.0),
        plan=home.plan,
        directory=home.directory,
        folder=tmp_path / "run",
    )
    with caplog.at_level(logging.INFO, "flwr"):
        strategy.start(home.grid, model(), num_rounds=2, timeout=5.0, evaluate_fn=at)
    assert caplog.text.count("which is still connected") == 1
    assert caplog.text.count("node-2 has left node") == 1
    record = RunRecord.from_json((tmp_path / "run" / "record.json").read_text())
    assert [len(r.attempts[0].survivors) for r in record.rounds] == [3, 3]


def test_a_node_that_is_not_enrolled_takes_no_part(house, caplog, tmp_path):
    home = house()
    stranger = NodeFiles.make(tmp_path / "others", 1, home.plan, rng=SystemRng()).node(0)
    home.grid.contexts[home.nodes[3]].node_config["fedprivacy-client"] = str(stranger)
    with caplog.at_level(logging.WARNING, "flwr"):
        start(home)
    assert "calls itself node-0 without its enrolled key" in caplog.text


def test_a_node_of_another_release_is_named_with_the_remedy(house, caplog):
    home = house()

    def newer(message, answer):
        reply = answer(message)
        reply.content[RECORD]["version"] = VERSION + 1
        return [reply]

    home.grid.faults[home.nodes[0]][0] = newer
    with caplog.at_level(logging.WARNING, "flwr"):
        result = start(home)
    assert_mean_over(home, result, [1, 2, 3])
    assert "version 2 where 1 is spoken: install one release on both" in caplog.text


def test_too_few_nodes_from_the_start_are_a_mistake_of_configuration(house):
    home = house()
    inner = FedAvg(min_train_nodes=2, fraction_train=0.5, fraction_evaluate=0.0)
    remedy = "set min_train_nodes and min_available_nodes of the strategy to at least 3"
    with pytest.raises(ConfigurationError, match=rf"plan\.aggregation with 2 clients: .*{remedy}"):
        start(home, inner=inner)


def test_a_mistake_after_the_first_sum_ends_the_run_with_its_result(house, caplog):
    home = house()

    class Diverges(FedAvg):
        def aggregate_train(self, server_round, replies):
            arrays, metrics = super().aggregate_train(server_round, replies)
            if arrays is not None:
                self.last = arrays
                arrays["scale"] = Array(np.array(np.nan))
            return arrays, metrics

    inner = Diverges(**NODES)
    with caplog.at_level(logging.WARNING, "flwr"):
        result = start(home, rounds=3, inner=inner)
    assert result.arrays is inner.last
    assert len(home.grid.pushes) == 1 + 5
    assert "no further round takes place: model.scale is nan" in caplog.text


@pytest.mark.parametrize("gone", [1, 2])
def test_a_record_that_cannot_be_written_costs_no_result(house, caplog, tmp_path, gone):
    home = house()
    seen = []

    def at(number, arrays):
        seen.append(vector(arrays))
        if number == gone:
            shutil.rmtree(tmp_path / "run")

    strategy = PrivateStrategy(
        FedAvg(**NODES), plan=home.plan, directory=home.directory, folder=tmp_path / "run"
    )
    with caplog.at_level(logging.ERROR, "flwr"):
        result = strategy.start(home.grid, model(), num_rounds=2, evaluate_fn=at)
    assert np.array_equal(vector(result.arrays), seen[2])
    assert not np.array_equal(seen[2], seen[1])
    assert "the run's record lacks what is not written" in caplog.text


def test_a_run_that_fails_at_once_can_be_tried_again_in_its_folder(house, tmp_path):
    home = house()
    few = FedAvg(min_train_nodes=2, fraction_train=0.5, fraction_evaluate=0.0)
    with pytest.raises(ConfigurationError, match="with 2 clients"):
        start(home, inner=few, folder=tmp_path / "run")
    start(home, folder=tmp_path / "run")
    assert (tmp_path / "run" / "record.json").exists()


def test_a_round_that_no_node_joins_is_not_the_last(house):
    home = house()
    replies_of = []

    class Watched(FedAvg):
        def aggregate_train(self, server_round, replies):
            replies_of.append(len(list(replies)))
            return super().aggregate_train(server_round, replies)

    class Shifting(type(home.grid)):
        """In the second round there are only nodes that nobody has met, and that do not answer."""

        def push_messages(self, messages):
            messages = list(messages)
            if len(replies_of) == 1:
                for message in messages:
                    message.metadata.__dict__["_dst_node_id"] = 7
                    self.faults[7] = dict.fromkeys(range(9), lost)
            return super().push_messages(messages)

    home.grid.__class__ = Shifting
    strategy = PrivateStrategy(
        Watched(**NODES), plan=home.plan, directory=home.directory, phase_timeout=0.05
    )
    strategy.start(home.grid, model(), num_rounds=3, timeout=0.5)
    assert replies_of == [1, 0, 1]


def test_a_node_with_another_run_configuration_takes_no_part(house, caplog):
    home = house(run_config={"lr": 0.1})
    home.grid.contexts[home.nodes[1]].run_config["lr"] = 10.0
    with caplog.at_level(logging.WARNING, "flwr"):
        result = start(home)
    assert_mean_over(home, result, [0, 2, 3])
    assert f"node {home.nodes[1]} was given another run configuration" in caplog.text


def test_a_strategy_that_sends_nodes_different_things_is_refused(house):
    home = house()

    class Personal(FedAvg):
        def _construct_messages(self, record, node_ids, message_type):
            messages = list(super()._construct_messages(record, node_ids, message_type))
            for i, message in enumerate(messages):
                content = message.content.copy()
                content["config"] = ConfigRecord({"server-round": 1, "lr": float(i)})
                message.content = content
            return messages

    with pytest.raises(ConfigurationError, match="is sent other content than node"):
        start(home, inner=Personal(**NODES))


# ------------------------------------------------------------------ a server that lies


def changed(name, change):
    """A server that sends one node something else than it told everyone."""

    def fault(message, answer):
        record = message.content[name]
        change(record)
        return [answer(message)]

    return fault


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config", lambda record: record.update({"lr": 10.0})),
        ("arrays", lambda record: record.update({"scale": Array(np.array(9.0))})),
        ("arrays", lambda record: record.update({"steps": Array(np.array(9))})),
    ],
    ids=["learning-rate", "model", "whole-number"],
)
def test_a_client_trains_on_nothing_but_what_the_plan_names(house, name, change, tmp_path):
    home = house()
    home.grid.faults[home.nodes[0]][INPUT] = changed(name, change)
    result = start(home, folder=tmp_path / "run")
    assert_mean_over(home, result, [1, 2, 3])
    record = RunRecord.from_json((tmp_path / "run" / "record.json").read_text())
    assert record.rounds[0].attempts[0].refused == {"node-0": "broadcast"}
    assert len(home.trainer.configs) == 3


def test_a_client_refuses_what_it_was_not_invited_to(house):
    home = house()
    start(home)
    push = home.grid.pushes[SHARES]
    (frame,) = unpack(home.grid.answer(push[0]).content, Answer).frames
    assert reason_of(decode(Refusal, frame, limit=100)) is Reason.UNEXPECTED
    assert unpack(push[0].content, Exchange).begins == 0


def test_nothing_of_a_round_stays_in_the_state_of_a_node(house):
    home = house()
    start(home)
    assert all(not context.state for context in home.grid.contexts.values())
