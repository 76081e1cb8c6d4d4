"""Attempts at one round over one cohort: what a second one may repeat, and what never again."""

import itertools

import msgspec
import pytest

from fedprivacy.errors import PeerError, PolicyRefused, Reason
from fedprivacy.rounds import ClientPolicy, Envelope
from fedprivacy.rounds.policy import AggregationFloor, Requirements
from fedprivacy.secagg import SERVER
from fedprivacy.secagg.masking.messages import SealedShares
from fedprivacy.transport import Delivery
from fedprivacy.wire import Transcript, decode, encode
from rounddrive import Consortium, house_of, make_plan, make_policy
from sumdrive import BFV, CURIOUS, MALICIOUS, MASKED, PLAIN, PLUS_SEMI, SHARING, WITH_COMMITTEES

ANY = 1 << 30
SIGNED = {MALICIOUS: "consistency-signature", PLUS_SEMI: "inclusion-signatures"}
NO_FLOORS = AggregationFloor(min_clients=2, corrupt=0)


def sent(transcript, tag):
    """Who sent a message of this kind to the server, in order."""
    return [
        entry.sender
        for entry in transcript.entries
        if entry.recipient == SERVER and tag.encode() in entry.message[:100]
    ]


class BadDealer:
    """Spoils the boxes of some dealers on the way, for all recipients but themselves."""

    def __init__(self, dealers, spared=0):
        self.dealers = dealers
        self.spared = spared

    def __call__(self, delivery):
        if delivery.sender not in self.dealers or delivery.phase != "shares":
            return (delivery,)
        envelope = decode(Envelope, delivery.message, limit=ANY)
        dealt = decode(SealedShares, envelope.body, limit=ANY)
        own, boxes, spared = int(delivery.sender[1:]), [], self.spared
        for box in dealt.boxes:
            if box.peer == own or spared > 0:
                spared -= box.peer != own
                boxes.append(box)
            else:
                changed = bytes([box.box[0] ^ 1]) + box.box[1:]
                boxes.append(msgspec.structs.replace(box, box=changed))
        body = encode(msgspec.structs.replace(dealt, boxes=tuple(boxes)))
        message = encode(msgspec.structs.replace(envelope, body=body))
        return (Delivery(delivery.sender, SERVER, delivery.phase, message),)


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_a_dealer_whose_boxes_do_not_open_is_left_out_of_the_second_attempt(setting):
    passed = Transcript()
    with house_of(setting) as house:
        outcomes = house.attempts(channel=BadDealer({"c003"}), transcript=passed)
        first, second = outcomes
        assert first.error.reason is Reason.SHARE_UNOPENED
        assert first.error.culprits == ("c003",)
        assert first.phases[-1].phase == "input"
        # Nobody was asked to sign or to unmask: all others may answer at the second.
        assert not first.answers_requested
        assert not first.failed
        if setting is PLUS_SEMI:
            # Over a second ring the inputs could be opened once more: they leave once a round.
            assert set(second.refused.values()) == {Reason.SPENT}
            assert second.aggregate is None
            return
        assert second.survivors == tuple(n for n in house.names if n != "c003")
        house.assert_exact(second)
    if "consistency" in setting.phases:
        assert sent(passed, SIGNED[setting]) == list(second.survivors)
    assert sent(passed, "unmask-shares") == list(second.survivors)
    assert sent(passed, "key-advertisement").count("c003") == 1


@pytest.mark.parametrize("setting", MASKED, ids=str)
def test_a_dealer_with_enough_good_boxes_stays(setting):
    """One box that does not open costs its dealer a holder, and the round nothing."""
    with house_of(setting) as house:
        (outcome,) = house.attempts(channel=BadDealer({"c003"}, spared=3))
        assert outcome.survivors == house.names
        house.assert_exact(outcome)


@pytest.mark.parametrize("setting", [s for s in MASKED if s is not PLUS_SEMI], ids=str)
def test_every_attempt_may_have_its_bad_dealer(setting):
    graph = {"dropout": 0.25} if setting.sparse else {}
    with house_of(setting, 7, attempts=3, **graph) as house:
        outcomes = house.attempts(channel=BadDealer({"c001", "c005"}))
        assert [o.error.culprits for o in outcomes[:-1]] == [("c001",), ("c005",)]
        good = tuple(n for n in house.names if n not in {"c001", "c005"})
        assert outcomes[-1].survivors == good
        house.assert_exact(outcomes[-1])


@pytest.mark.parametrize("setting", [*WITH_COMMITTEES, BFV], ids=str)
def test_attempts_have_an_end(setting):
    """With everyone lost each time, there are as many attempts as the plan says."""
    for attempts in (1, 2, 4):
        with house_of(setting, attempts=attempts) as house:
            outcomes = house.attempts(channel=lambda d: (d,) if d.sender == SERVER else ())
            assert len(outcomes) == attempts
            assert {o.error.reason for o in outcomes} == {Reason.TOO_FEW}
            extra = house.drive(1, attempts + 1).run()
            assert set(extra.refused.values()) == {Reason.ATTEMPTS}


@pytest.mark.parametrize("setting", SHARING, ids=str)
@pytest.mark.parametrize("phase", BFV.phases)
def test_under_a_shared_key_one_is_lost_at_any_phase_and_nobody_decrypts_twice(setting, phase):
    """Whoever is lost; and all but one before a phase, after which the round is tried again."""
    late = setting.phases[setting.phases.index(phase) :]

    def lose(*lost):
        def channel(delivery):
            gone = delivery.client in lost and delivery.phase in late
            return () if gone and delivery.sender != SERVER else (delivery,)

        return channel

    with house_of(setting) as house:
        outcome = house.drive(1, 1, channel=lose("c001")).run()
        assert ("c001" in outcome.survivors) == (phase == "decryption")
        house.assert_exact(outcome)
        first = house.drive(2, 1, channel=lose(*house.names)).run()
        assert first.error.reason is Reason.TOO_FEW
        assert first.answers_requested == (phase == "decryption")
        second = house.drive(2, 2).run()
        if phase == "input":
            assert second.survivors == house.names
            house.assert_exact(second)
        else:
            assert set(second.refused.values()) == {Reason.ANSWERED}
            assert second.error.reason is Reason.TOO_FEW


@pytest.mark.parametrize("setting", MASKED, ids=str)
@pytest.mark.parametrize("phase", MALICIOUS.phases)
def test_nobody_answers_at_two_attempts(setting, phase):
    """All but one are lost before a phase; the round is tried again, whatever has happened.

    A client that has signed or unmasked at the first attempt declines the second.
    """
    if phase not in setting.phases:
        phase = "unmasking"
    passed = Transcript()

    def lose(delivery):
        late = setting.phases[setting.phases.index(phase) :]
        gone = delivery.client != "c000" and delivery.phase in late
        return () if gone and delivery.sender != SERVER else (delivery,)

    with house_of(setting, attempts=2) as house:
        first = house.drive(1, 1, channel=lose, transcript=passed).run()
        assert first.error.reason is Reason.TOO_FEW
        # What tells a coordinator that a second attempt is in vain.
        assert first.answers_requested == (phase in {"consistency", "unmasking"})
        assert first.unmasking_requested == (phase == "unmasking")
        second = house.drive(1, 2, transcript=passed).run()
        for tag in (*SIGNED.values(), "unmask-shares"):
            answers = sent(passed, tag)
            assert len(set(answers)) == len(answers)
        if phase == "input" and setting is PLUS_SEMI:
            # The inputs had left, whether or not they arrived: no other leaves in this round.
            assert second.refused == dict.fromkeys(house.names, Reason.SPENT)
            assert second.error.reason is Reason.TOO_FEW
            return
        if phase in {"keys", "shares", "input"}:
            assert second.survivors == house.names
            house.assert_exact(second)
            return
        assert set(second.refused) == set(house.names)
        assert set(second.refused.values()) == {Reason.ANSWERED}
        assert second.error.reason is Reason.TOO_FEW
        assert [meter.phase for meter in second.phases] == ["keys"]


@pytest.mark.parametrize("setting", [*WITH_COMMITTEES, *SHARING], ids=str)
def test_rounds_of_one_run_follow_each_other(setting):
    with house_of(setting) as house:
        for number in range(1, 5):
            house.broadcast = b"weights %d" % number
            outcome = house.drive(number).run()
            assert outcome.survivors == house.names
            house.assert_exact(outcome)
        stale = house.drive(3, 2).run()
        assert set(stale.refused.values()) == {Reason.ROUND_SEEN}


def test_an_attempt_cannot_be_begun_twice():
    """The same invitation, to a second object over the same store."""
    with Consortium() as house:
        (invitation,) = [s.message for s in house.server().invite(["c000"])]
        one, two = house.client("c000"), house.client("c000")
        list(one.receive(SERVER, invitation))
        with pytest.raises(PeerError) as caught:
            list(two.receive(SERVER, invitation))
        assert caught.value.reason is Reason.ROUND_SEEN


@pytest.mark.parametrize(
    ("plan", "policy", "reason"),
    [
        (make_plan(), make_policy(floor=4), Reason.POLICY_COHORT),
        (make_plan(CURIOUS.adversary), make_policy(), Reason.POLICY_ADVERSARY),
        (
            make_plan(PLAIN.adversary, "plain"),
            make_policy(CURIOUS.adversary),
            Reason.POLICY_PROTOCOL,
        ),
    ],
    ids=["floor", "adversary", "plain"],
)
def test_a_policy_refuses_and_says_why(plan, policy, reason):
    """All of them, and no one begins; the store is as it was, and an honest twin then completes."""
    with Consortium(plan=plan, policy=policy) as house:
        outcome = house.drive(channel=lambda d: (d,)).run()
        assert outcome.refused == dict.fromkeys(house.names, reason)
        assert outcome.error.reason is Reason.TOO_FEW
        assert all(isinstance(error, PolicyRefused) for error in outcome.failed.values())
        rules = plan.aggregation
        house.policy = make_policy(rules.adversary, rules.protocol)
        twin = house.drive().run()
        assert twin.survivors == house.names
        house.assert_exact(twin)


@pytest.mark.parametrize("refusing", [1, 2, 3])
def test_those_who_refuse_are_not_asked_again_and_cost_the_rest_nothing(refusing):
    """As long as the threshold (four of five with one corrupt) is left."""
    with Consortium() as house:
        strict, usual = make_policy(floor=5), house.policy
        original = house.client

        def client(name, number=1, attempt=1):
            house.policy = strict if int(name[1:]) < refusing else usual
            return original(name, number, attempt)

        house.client = client
        outcomes = house.attempts()
        for outcome in outcomes:
            assert set(outcome.refused.values()) <= {Reason.POLICY_COHORT}
        assert set(outcomes[0].refused) == set(house.names[:refusing])
        if refusing == 1:
            assert outcomes[-1].survivors == house.names[1:]
            house.assert_exact(outcomes[-1])
        else:
            assert len(outcomes) == 2
            assert not outcomes[1].refused
            assert outcomes[1].error.reason is Reason.TOO_FEW


def test_every_threshold_of_the_rule_survives_as_many_losses_as_it_says():
    """n, c and whom to lose: n - t lost before the input, and one more."""
    for clients, corrupt in itertools.product((4, 5, 6, 7), (0, 1, 2)):
        if corrupt + 2 > clients - 2:
            continue
        plan = make_plan(min_clients=max(2, corrupt + 2), corrupt=corrupt)
        policy = ClientPolicy(require=Requirements(aggregation=NO_FLOORS))
        threshold = (clients + corrupt) // 2 + 1
        for lost in (clients - threshold, clients - threshold + 1):
            gone = {f"c{i:03}" for i in range(lost)}

            def lose(delivery, gone=gone):
                stays = delivery.client not in gone or delivery.phase in {"keys", "shares"}
                return (delivery,) if stays else ()

            with Consortium(clients=clients, plan=plan, policy=policy) as house:
                outcome = house.drive(channel=lose).run()
                if lost == clients - threshold:
                    house.assert_exact(outcome)
                    assert set(outcome.survivors) == set(house.names) - gone
                else:
                    assert outcome.error.reason is Reason.TOO_FEW
