"""A committee in Flower's nodes: who is lost, who lies, and what is wrong with whose files."""

import logging

import numpy as np
import pytest
from flwr.app import Message
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from fedprivacy.crypto import Identity
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.flower import PrivateStrategy, privacy_mod, secure_sum, vector_reply
from fedprivacy.flower.records import Answer, Exchange, others, pack, unpack
from fedprivacy.rounds import MemberEnvelope, Refusal, RoundServer, RunRecord
from fedprivacy.rounds.messages import MemberRefusal, reason_of
from fedprivacy.secagg.masking.messages import SurvivorSet, UnmaskRequest
from fedprivacy.secagg.oneshot.messages import InputsClosed, KeySum
from fedprivacy.wire import decode, encode
from flower_loop import (
    ALL_IN_ONE,
    DRAWN,
    NOISY,
    ONE_SHOT,
    OPENED,
    OPENING,
    SIGNING,
    SUMMONED,
    error,
    garbage,
    lost,
    model,
    too_late,
    unreadable,
    vector,
)

NODES = {"min_train_nodes": 4, "min_available_nodes": 4, "fraction_evaluate": 0.0}
ANY = 1 << 30
AS_MEMBER = (SUMMONED, OPENING, SIGNING, OPENED)
NOISY_ONE_SHOT = NOISY.replace('"secagg"', '"oneshot"').replace(
    "[update]", ONE_SHOT[ONE_SHOT.index("[aggregation.committee]") :].split("clip")[0]
)


def by_night(*values):
    marks = pytest.mark.nightly
    return [pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=marks) for v in values]


def start(home, folder, *, rounds=1, **options):
    """The result and the record of a run."""
    options = {"phase_timeout": 0.05, **options}
    evaluate_fn = options.pop("evaluate_fn", None)
    strategy = PrivateStrategy(
        FedAvg(**NODES), plan=home.plan, directory=home.directory, folder=folder / "run", **options
    )
    result = strategy.start(
        home.grid, model(), num_rounds=rounds, timeout=0.05, evaluate_fn=evaluate_fn
    )
    return result, RunRecord.from_json((folder / "run" / "record.json").read_text())


def assert_mean_over(home, result, parts):
    weight = sum(10 + part for part in parts)
    bound = home.plan.pipeline(len(vector(model())), 4).quantisation_bound(weight) / weight
    moved = vector(result.arrays) - vector(model())
    apart = np.max(np.abs(moved - home.trainer.mean(home.plan.update.clip, parts)))
    assert apart < bound + 1e-15


# ------------------------------------------------------------------ who is lost


@pytest.mark.parametrize("fault", [lost, *by_night(garbage, error, too_late, unreadable)])
def test_a_sum_is_over_the_clients_whose_upload_came(house, tmp_path, fault):
    home = house(plan=ONE_SHOT)
    home.grid.faults[home.nodes[2]][ALL_IN_ONE] = fault
    result, _ = start(home, tmp_path)
    assert_mean_over(home, result, [0, 1, 3])


@pytest.mark.parametrize(
    ("at", "fault"),
    [
        (OPENED, lost),
        (OPENING, garbage),
        *by_night(*((at, lost) for at in AS_MEMBER if at != OPENED)),
        *by_night(*((at, garbage) for at in AS_MEMBER if at != OPENING)),
    ],
)
def test_a_member_that_is_lost_costs_nothing(house, tmp_path, at, fault):
    home = house(plan=ONE_SHOT)
    home.grid.faults[home.seats[1]][at] = fault
    result, record = start(home, tmp_path)
    assert_mean_over(home, result, [0, 1, 2, 3])
    (attempt,) = record.rounds[0].attempts
    assert attempt.excluded == ({"m-two": "malformed"} if fault is garbage else {})


def test_a_member_that_is_late_at_its_first_hello_does_not_train(house, tmp_path):
    home = house(plan=ONE_SHOT)
    home.grid.faults[home.seats[0]][0] = lost
    _, record = start(home, tmp_path)
    assert record.clients == ("node-0", "node-1", "node-2", "node-3")
    assert len(record.rounds[0].attempts[0].survivors) == 4


def test_a_member_that_comes_back_under_a_new_id_opens_sums_again(house, tmp_path):
    home = house(plan=ONE_SHOT)
    new = []

    def at(number, arrays):
        if number == 1:
            new.extend(home.grid.restart(seat) for seat in home.seats[:2])

    _, record = start(home, tmp_path, rounds=2, evaluate_fn=at)
    assert [r.outcome for r in record.rounds] == ["sum", "sum"]
    assert [home.grid.sent[node] for node in new] == [1 + 4, 1 + 4]
    assert not any("node-" not in name for name in record.clients)


def lose_two_members(home, at):
    for seat in home.seats[:2]:
        home.grid.faults[seat][at] = lost


def test_without_enough_members_no_client_is_asked(house, tmp_path):
    home = house(plan=ONE_SHOT.replace("corrupt = 1", "corrupt = 1\nattempts = 1"))
    lose_two_members(home, SUMMONED)
    result, record = start(home, tmp_path)
    (attempt,) = record.rounds[0].attempts
    assert (attempt.outcome, attempt.reason) == ("aborted", "too-few")
    assert not result.arrays
    assert not home.trainer.configs
    assert all(home.grid.sent[node] == 1 for node in home.nodes[:4])  # the hello


@pytest.mark.parametrize("at", [OPENING, *by_night(SUMMONED)])
def test_until_members_are_asked_to_sign_there_is_a_second_attempt(house, tmp_path, at):
    home = house(plan=ONE_SHOT)
    lose_two_members(home, at)
    result, record = start(home, tmp_path)
    assert [a.outcome for a in record.rounds[0].attempts] == ["aborted", "sum"]
    assert_mean_over(home, result, [0, 1, 2, 3])


@pytest.mark.parametrize("at", [OPENED, *by_night(SIGNING)])
def test_once_they_are_asked_to_sign_there_is_none(house, tmp_path, at):
    home = house(plan=ONE_SHOT)
    lose_two_members(home, at)
    result, record = start(home, tmp_path)
    (attempt,) = record.rounds[0].attempts
    assert (attempt.outcome, attempt.reason) == ("aborted", "too-few")
    assert not result.arrays


def test_too_few_uploads_are_no_sum_and_the_next_attempt_is_over_the_same_cohort(house, tmp_path):
    home = house(plan=ONE_SHOT)
    for node in home.nodes[:2]:
        home.grid.faults[node][ALL_IN_ONE] = lost
    result, record = start(home, tmp_path)
    assert [a.reason for a in record.rounds[0].attempts] == ["too-few", ""]
    assert_mean_over(home, result, [0, 1, 2, 3])


@pytest.mark.nightly
def test_a_client_that_sits_on_the_committee_may_be_lost_as_either(house, tmp_path):
    home = house(plan=DRAWN, nodes=5)
    seen = {}

    def note(message, answer):
        frames = unpack(message.content, Exchange).frames
        as_member = _body(frames[0], MemberEnvelope) is not None or b"summons" in frames[0][:16]
        node = message.metadata.dst_node_id
        if as_member and seen.setdefault("member", node) == node:
            return []  # the first who is asked as a member is lost as one, and trains
        return [answer(message)]

    for node in home.nodes:
        home.grid.faults[node] = dict.fromkeys(range(1, 9), note)
    _, record = start(home, tmp_path)
    (attempt,) = record.rounds[0].attempts
    assert attempt.outcome == "sum"
    assert len(attempt.survivors) == 5


# ------------------------------------------------------------------ a server that lies


def _body(frame, kind):
    try:
        return decode(kind, frame, limit=ANY)
    except PeerError:
        return None


def other(kind, change):
    """The server tells one member something else: what it would say, changed."""

    def frame_of(frame):
        told = _body(frame, MemberEnvelope)
        found = _body(told.body, kind) if told else None
        return encode(MemberEnvelope(told.round_id, encode(change(found)))) if found else frame

    def fault(message, answer):
        order = unpack(message.content, Exchange)
        frames = tuple(frame_of(frame) for frame in order.frames)
        message.content = pack(Exchange(order.begins, frames, b""), others(message.content))
        return [answer(message)]

    return fault


def answered(home):
    """What each node says, in the order in which it is asked."""
    said = {node: [] for node in home.nodes}
    original = home.grid.answer

    def listening(message):
        reply = original(message)
        said[message.metadata.dst_node_id].append(reply)
        return reply

    home.grid.answer = listening
    return said


def opened(replies):
    """Whether a member let its part of a sum go."""
    frames = [f for reply in replies[1:] for f in unpack(reply.content, Answer).frames]
    bodies = [told.body for told in (_body(f, MemberEnvelope) for f in frames) if told]
    return any(_body(body, KeySum) is not None for body in bodies)


def refusal(reply):
    (frame,) = unpack(reply.content, Answer).frames
    return reason_of(decode(Refusal | MemberRefusal, frame, limit=ANY))


LIES = {
    "a set below the floor that clients sealed": (
        SIGNING,
        other(SurvivorSet, lambda told: SurvivorSet(told.survivors[:2])),
        Reason.SURVIVORS_FEW,
    ),
    "inputs closed without one of them": (
        OPENING,
        other(InputsClosed, lambda told: InputsClosed(told.clients[1:])),
        Reason.SHARE_MISSING,
    ),
    "a request with too few signatures": (
        OPENED,
        other(UnmaskRequest, lambda told: UnmaskRequest(told.signatures[:1])),
        Reason.CONSISTENCY_QUORUM,
    ),
}


@pytest.mark.parametrize("lie", [next(iter(LIES)), *by_night(*list(LIES)[1:])])
def test_a_member_refuses_the_lie_and_opens_nothing(house, tmp_path, lie):
    at, fault, reason = LIES[lie]
    home = house(plan=ONE_SHOT)
    said = answered(home)
    home.grid.faults[home.seats[1]][at] = fault
    result, record = start(home, tmp_path)
    told = record.rounds[0].attempts[0].refused
    assert told == {"m-two": reason.name.lower().replace("_", "-")}
    assert [opened(said[seat]) for seat in home.seats] == [True, False, True]
    assert_mean_over(home, result, [0, 1, 2, 3])


def test_the_honest_twin_opens_with_all_of_them(house, tmp_path):
    home = house(plan=ONE_SHOT)
    said = answered(home)
    result, record = start(home, tmp_path)
    assert record.rounds[0].attempts[0].refused == {}
    assert [opened(said[seat]) for seat in home.seats] == [True, True, True]
    assert_mean_over(home, result, [0, 1, 2, 3])


def test_a_member_that_is_shown_another_set_than_the_others_opens_neither(house, tmp_path):
    home = house(plan=ONE_SHOT)
    said = answered(home)
    seat = home.seats[1]
    home.grid.faults[seat][SIGNING] = other(
        SurvivorSet, lambda told: SurvivorSet(told.survivors[:3])
    )
    result, record = start(home, tmp_path)
    assert record.rounds[0].attempts[0].excluded == {"m-two": "consistency-signature"}
    # Nor where the server asks it to, with what the others signed.
    (request,) = [p for p in home.grid.pushes[-1] if p.metadata.dst_node_id == home.seats[0]]
    message = Message(request.content, dst_node_id=seat, message_type=request.metadata.message_type)
    assert refusal(home.grid.answer(message)) is Reason.CONSISTENCY_SIGNATURE
    assert not opened(said[seat])
    assert_mean_over(home, result, [0, 1, 2, 3])


@pytest.mark.parametrize("honest", [True, False])
def test_two_sets_are_never_opened_in_one_round(house, tmp_path, monkeypatch, honest):
    """A server that says of answers that it asked for none makes a second attempt."""
    home = house(plan=ONE_SHOT)
    monkeypatch.setattr(RoundServer, "answers_requested", property(lambda server: False))
    for seat in home.seats:
        home.grid.faults[seat][OPENING if honest else OPENED] = lost
    said = answered(home)
    _, record = start(home, tmp_path)
    first, second = record.rounds[0].attempts
    assert first.outcome == "aborted"
    assert second.outcome == ("sum" if honest else "aborted")
    assert second.refused == (
        {} if honest else dict.fromkeys(("m-one", "m-two", "m-three"), "answered")
    )
    assert [opened(said[seat]) for seat in home.seats] == [honest] * 3


def test_whatever_is_said_once_more_is_refused(house, tmp_path):
    """Each message of a round again, to clients and members, after the round and within it."""
    home = house(plan=ONE_SHOT)
    start(home, tmp_path)
    trained = len(home.trainer.configs)
    found = {}
    for push in home.grid.pushes[1:]:
        for message in push:
            role = "member" if message.metadata.dst_node_id in home.seats else "client"
            reason = refusal(home.grid.answer(message))
            found.setdefault(role, []).append(reason)
    assert set(found["client"]) == {Reason.ROUND_SEEN}
    # One that was summoned again is in no round any more.
    assert set(found["member"][:3]) == {Reason.ROUND_SEEN}
    assert set(found["member"][3:]) == {Reason.UNEXPECTED}
    assert len(home.trainer.configs) == trained


@pytest.mark.nightly
def test_a_second_survivor_set_within_a_round_is_refused(house, tmp_path):
    home = house(plan=ONE_SHOT)
    second = []

    def twice_asked(message, answer):
        first = answer(message)
        lie = other(SurvivorSet, lambda told: SurvivorSet(told.survivors[:3]))
        second.extend(lie(message, answer))
        return [first]

    home.grid.faults[home.seats[1]][SIGNING] = twice_asked
    said = answered(home)
    start(home, tmp_path)
    assert refusal(second[0]) is Reason.MALFORMED  # it takes a request, and nothing else
    assert not opened(said[home.seats[1]])


def test_a_client_trains_on_nothing_but_what_the_plan_names(house, tmp_path):
    home = house(plan=ONE_SHOT)

    def hotter(message, answer):
        message.content["config"]["lr"] = 10.0
        return [answer(message)]

    home.grid.faults[home.nodes[0]][ALL_IN_ONE] = hotter
    result, record = start(home, tmp_path)
    assert record.rounds[0].attempts[0].refused == {"node-0": "broadcast"}
    assert len(home.trainer.configs) == 3
    assert_mean_over(home, result, [1, 2, 3])


# ------------------------------------------------------------------ whose files are wrong


def demand(home, node, floor):
    """A node's own policy asks for larger sums than the plan promises."""
    file = home.files.node(home.nodes.index(node)) / "client.toml"
    file.write_text(file.read_text().replace("min_clients = 3", f"min_clients = {floor}"))


def test_nobody_is_drawn_to_train_who_opens_the_sums(house, tmp_path):
    """Neither one with a node of its own, nor one of those that would train."""
    home = house(plan=ONE_SHOT.replace("m-two", "node-4"), nodes=5)
    assert len(home.nodes) == 7
    _, record = start(home, tmp_path)
    assert set(record.clients) == {f"node-{number}" for number in range(4)}
    assert set(home.trainer.updates) == {0, 1, 2, 3}


def test_a_client_whose_policy_refuses_is_named_before_anything_is_asked(house, tmp_path, caplog):
    home = house(plan=ONE_SHOT)
    demand(home, home.nodes[3], 30)
    with caplog.at_level(logging.WARNING, "flwr"):
        result, record = start(home, tmp_path)
    assert f"node {home.nodes[3]} declines (policy-cohort): see its log, run" in caplog.text
    assert home.grid.sent[home.nodes[3]] == 2  # hello, and once more in the round
    assert_mean_over(home, result, [0, 1, 2])
    assert "node-3" not in record.clients


def test_a_member_that_is_nowhere_or_declines_is_named(house, tmp_path, caplog):
    home = house(plan=ONE_SHOT)
    demand(home, home.seats[0], 30)
    with caplog.at_level(logging.WARNING, "flwr"):
        result, _ = start(home, tmp_path)
    assert f"node {home.seats[0]} declines (policy-cohort)" in caplog.text
    assert "plan.aggregation.committee: m-one lives at no node" in caplog.text
    assert_mean_over(home, result, [0, 1, 2, 3])


def test_too_few_members_are_a_mistake_of_configuration(house, tmp_path):
    home = house(plan=ONE_SHOT)
    for seat in home.seats[1:]:
        home.grid.contexts[seat].node_config["fedprivacy-client"] = str(home.files.node(0))
    with pytest.raises(ConfigurationError) as caught:
        start(home, tmp_path)
    said = str(caught.value)
    assert "m-two, m-three at no node, and 1 of 3 members are there where 2 open a sum" in said
    assert "is node-0, as is node" in said
    assert not home.trainer.configs


def test_a_server_that_is_enrolled_is_told_so_before_the_run(house, tmp_path):
    home = house(plan=NOISY_ONE_SHOT)
    key = next(home.files.node(4).glob("m-one.key"))
    assert Identity.load(key, "m-one").client_id == "m-one"
    with pytest.raises(ConfigurationError, match="operator_key is the key of m-one, who is"):
        start(home, tmp_path, ledger=tmp_path / "budget.db", operator_key=key)
    assert not home.grid.pushes


@pytest.mark.nightly
def test_a_query_is_answered_over_a_committee(house):
    home = house(
        plan=ONE_SHOT.replace(
            'weights = "summed"\nmax_units_per_client = 100', 'weights = "uniform"'
        )
    )
    app = ClientApp(mods=[privacy_mod])

    @app.query()
    def ask(message, context):
        return vector_reply(message, np.full(3, 0.25))

    home.grid.apps = dict.fromkeys(home.nodes, app)
    found = secure_sum(
        home.grid, home.plan, length=3, directory=home.directory, phase_timeout=0.05, timeout=0.05
    )
    assert np.allclose(found.sum, 1.0, atol=1e-4)


@pytest.mark.nightly
def test_a_committee_opens_the_sums_of_an_evaluation(house):
    home = house(plan=ONE_SHOT)
    strategy = PrivateStrategy(
        FedAvg(min_train_nodes=4, min_evaluate_nodes=4, min_available_nodes=4),
        plan=home.plan,
        directory=home.directory,
        evaluate="summed",
        metrics={"loss": 2.0},
        phase_timeout=0.05,
    )
    result = strategy.start(home.grid, model(), num_rounds=1, timeout=0.05)
    assert result.evaluate_metrics_clientapp[1]["loss"] == pytest.approx(1.0, abs=1e-3)
    assert sorted(home.trainer.evaluated) == [0, 1, 2, 3]
    # A hello for each run, and in each one exchange of a client and four of a member.
    assert [home.grid.sent[node] for node in home.nodes] == [4, 4, 4, 4, 10, 10, 10]
