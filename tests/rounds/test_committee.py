"""Rounds that a committee opens: who is lost when, and what its members and clients refuse."""

import random

import msgspec
import pytest

from fedprivacy.crypto import Directory, SigningKey
from fedprivacy.errors import ConfigurationError, PeerError, PolicyRefused, Reason
from fedprivacy.ledger import SignedHead
from fedprivacy.rounds import (
    Envelope,
    Guarantee,
    Invitation,
    MemberEnvelope,
    Refusal,
    RoundServer,
    Summons,
)
from fedprivacy.rounds.messages import MemberRefusal, is_of_committee
from fedprivacy.rounds.policy import AggregationFloor, CommitteeFloor, Requirements
from fedprivacy.rounds.traffic import download_bytes, upload_bytes
from fedprivacy.secagg import SERVER, Cohort, Done, Mark, Persist, Send
from fedprivacy.secagg.masking.messages import ConsistencySignature, SurvivorSet
from fedprivacy.secagg.oneshot.messages import InputsClosed
from fedprivacy.simulation.faults import Dropouts, Phase
from fedprivacy.transport import Delivery
from fedprivacy.wire import Transcript, decode, encode
from oracle import predict
from rounddrive import Consortium, house_of, make_noise, make_plan, make_policy, noisy_house
from sumdrive import ONE_SHOT

ANY = 1 << 30
NAMED = 'members = ["m-one", "m-two", "m-three", "m-four"]\ncorrupt = 1'


def house(clients=5, committee="size = 4\ncorrupt = 1", **rules):
    return house_of(ONE_SHOT, clients, committee=committee, **rules)


def out_from(name, phase):
    return Dropouts({name: Phase(phase)})


# ---------------------------------------------------------------------- who is lost


@pytest.mark.parametrize("committee", ["size = 4\ncorrupt = 1", NAMED], ids=["drawn", "named"])
@pytest.mark.parametrize("phase", [None, *ONE_SHOT.phases])
def test_one_member_may_be_lost_before_any_phase(committee, phase):
    with house(committee=committee) as consortium:
        member = consortium.committee().members[1]
        hooks = {"channel": out_from(member, phase)} if phase else {}
        outcome = consortium.drive(**hooks).run()
        consortium.assert_exact(outcome)
        # Who is a client as well is lost as that, unless its input had come.
        gone = phase in {"keys", "input"} and member in consortium.names
        assert outcome.survivors == tuple(n for n in consortium.names if not gone or n != member)


def test_patterns_of_losses_end_as_the_oracle_says():
    """Every one of four is a client and a member, lost before any of its messages, or not."""
    draw, phases = random.Random("rounds"), ONE_SHOT.phases
    patterns = [[draw.choice([5, 5, 5, *range(5)]) for _ in range(4)] for _ in range(25)]
    for number, pattern in enumerate(patterns):
        with house(4, seed=number) as consortium:
            names = consortium.names
            lost = {n: Phase(phases[m]) for n, m in zip(names, pattern, strict=True) if m < 5}
            outcome = consortium.drive(channel=Dropouts(lost)).run()
            vectors = {n: consortium.updates[n].astype(int) for n in names}
            sent = dict(zip(names, pattern, strict=True))
            rule = predict(phases, sent, vectors, threshold=3, min_clients=3)
            assert outcome.survivors == rule.survivors, pattern
            if rule.survivors:
                consortium.assert_exact(outcome)
            else:
                assert outcome.error.reason is rule.reason
                assert outcome.phases[-1].phase == rule.aborted_in, pattern
            assert not outcome.excluded
            assert not outcome.failed


def test_a_client_sends_one_message_beyond_its_chunks_and_is_asked_nothing():
    passed = Transcript()
    with house() as consortium:
        consortium.drive(transcript=passed).run()
    as_clients = [e for e in passed.entries if not is_of_committee(e.message)]
    for name in consortium.names:
        up = [e for e in as_clients if e.sender == name]
        down = [e for e in as_clients if e.recipient == name]
        assert [e.phase for e in up] == ["input"] * 2  # one chunk, and what closes it
        assert [e.phase for e in down] == ["keys", "input"]  # the invitation, the committee


def test_noise_shares_fit_the_slots():
    """Slots cannot wrap: a share ends at the bound that the event has charged."""
    plan = {"protocol": "oneshot", "committee": "size = 4\ncorrupt = 1", "value_bits": 8}
    with noisy_house(noise=make_noise(), **plan) as consortium:
        frozen = consortium.round_plan()
        pipeline = frozen.pipeline
        assert pipeline.specs[-1].noise > 0
        assert frozen.sum_plan().client_bound == pipeline.client_bound
        assert pipeline.client_bound >= pipeline.specs[-2].bound + pipeline.specs[-1].noise
        # Three in a sum at least, of whom one may be corrupt.
        assert frozen.plan.noise_shares(frozen.cohort_size) == 2
        outcome = consortium.drive().run()
        assert outcome.survivors == consortium.names
        assert outcome.aggregate.sum.tolist() != consortium.exact(consortium.names).tolist()


def test_what_a_client_sends_and_receives_was_foretold():
    with house() as consortium:
        outcome = consortium.drive().run()
        up = upload_bytes(consortium.plan, clients=5, length=8)
        down = download_bytes(consortium.plan, clients=5, length=8, id_bytes=4)
        met = {meter.phase: meter for meter in outcome.phases}
        assert set(up) == {"input"}
        for name in consortium.names:
            assert met["input"].up[name] == up["input"]
            # With the invitation foretold to the phase of the first message that is sent.
            assert met["input"].down[name] < down["input"]


# ---------------------------------------------------------------------- once in a round


def test_a_member_answers_once_across_attempts_and_restarts():
    with house() as consortium:
        first = consortium.drive(1, 1, channel=lose_all_but_one("unmasking")).run()
        assert first.error.reason is Reason.TOO_FEW
        assert first.unmasking_requested
        second = consortium.drive(1, 2).run()
        assert second.error.reason is Reason.TOO_FEW
        assert set(second.refused.values()) == {Reason.ANSWERED}
        members = consortium.committee().members
        assert set(second.refused) == set(members)
        # The next round is another matter.
        consortium.broadcast = b"next"
        consortium.assert_exact(consortium.drive(2).run())


def lose_all_but_one(phase):
    def lose(delivery):
        gone = delivery.phase == phase and delivery.sender != SERVER and delivery.sender != "c000"
        return () if gone else (delivery,)

    return lose


def stopped_before_signing(consortium, attempt=1):
    """A round driven until members are to be shown the survivors; what one was told by then."""
    passed, held = Transcript(), {}

    def hold(delivery):
        if delivery.phase == "consistency" and delivery.sender == SERVER:
            held[delivery.recipient] = delivery.message
            return ()
        return (delivery,)

    members = consortium.members(1, attempt)
    consortium.drive(1, attempt, channel=hold, transcript=passed, committee=members).run()
    return members, held


def test_a_member_that_is_asked_for_two_sets_answers_for_the_first():
    with house() as consortium:
        members, held = stopped_before_signing(consortium)
        name = min(members)
        told = decode(MemberEnvelope, held[name], limit=ANY)
        survivors = decode(SurvivorSet, told.body, limit=ANY).survivors

        def ask(member, chosen):
            body = encode(SurvivorSet(chosen))
            return list(member.receive(SERVER, encode(MemberEnvelope(told.round_id, body))))

        (signed,) = ask(members[name], survivors[1:])
        body = decode(MemberEnvelope, signed.message, limit=ANY).body
        assert decode(ConsistencySignature, body, limit=ANY)
        with pytest.raises(PeerError) as caught:
            ask(members[name], survivors)
        assert caught.value.reason is not Reason.WRONG_ROUND
        assert members[name].has_left
        # A second object over the same store, at another attempt.
        again = consortium.member(name, 1, 2)
        server = consortium.server(1, 2)
        (summons,) = [s for s in server.invite(consortium.names) if s.recipient == name][:1]
        with pytest.raises(PeerError) as caught:
            list(again.receive(SERVER, summons.message))
        assert caught.value.reason is Reason.ANSWERED


def test_a_member_below_its_floor_signs_nothing():
    with house() as consortium:
        members, held = stopped_before_signing(consortium)
        told = decode(MemberEnvelope, held[min(members)], limit=ANY)
        survivors = decode(SurvivorSet, told.body, limit=ANY).survivors
        few = encode(MemberEnvelope(told.round_id, encode(SurvivorSet(survivors[:2]))))
        with pytest.raises(PeerError) as caught:
            list(members[min(members)].receive(SERVER, few))
        assert caught.value.reason is Reason.SURVIVORS_FEW


def test_an_attempt_is_begun_once_by_a_member_and_once_by_a_client():
    """With it goes the seed of its polynomials: no two sessions of one identity share it."""
    with house() as consortium:
        server = consortium.server()
        sends = list(server.invite(consortium.names))
        name = consortium.committee().members[0]
        summons = next(
            s.message for s in sends if s.recipient == name and is_of_committee(s.message)
        )
        invited = next(
            s.message for s in sends if s.recipient == name and not is_of_committee(s.message)
        )
        list(consortium.member(name).receive(SERVER, summons))
        list(consortium.client(name).receive(SERVER, invited))
        for again, message in (
            (consortium.member(name), summons),
            (consortium.client(name), invited),
        ):
            with pytest.raises(PeerError) as caught:
                list(again.receive(SERVER, message))
            assert caught.value.reason is Reason.ROUND_SEEN


def test_unmasking_is_journaled_before_a_member_is_asked():
    order = []

    def note(delivery):
        if delivery.sender == SERVER and is_of_committee(delivery.message):
            order.append(delivery.phase)
        return (delivery,)

    def journal(effect):
        if effect.mark is Mark.UNMASKING:
            order.append(effect)

    with house() as consortium:
        outcome = consortium.drive(channel=note, journal=journal).run()
        assert outcome.unmasking_requested
    at = next(i for i, entry in enumerate(order) if isinstance(entry, Persist))
    assert "unmasking" not in order[:at]
    assert set(order[at + 1 :]) == {"unmasking"}
    assert order[at].members == outcome.survivors


# ---------------------------------------------------------------------- who is believed


def test_a_second_attempt_with_another_committee_is_declined():
    """Its members had not answered: they could open nearly the same clients once more."""
    with house() as consortium:
        first = consortium.drive(1, 1, channel=lose_all_but_one("input")).run()
        assert first.error.reason is Reason.TOO_FEW
        drawn = consortium.committee()
        other = Cohort.of(drawn.members[::-1], rng=consortium.rng.child("other"))
        consortium.committee = lambda number=1: other
        second = consortium.drive(1, 2).run()
        assert set(second.refused.values()) == {Reason.ATTEMPT_CHANGED}
        assert set(second.refused) == set(consortium.names)


@pytest.mark.parametrize(
    "floor",
    [
        {"size": 5},
        {"threshold": 4},
        {"corrupt": 2},
        {"members": ("m-one", "m-two")},
    ],
    ids=str,
)
def test_a_policy_refuses_a_committee_below_its_floor(floor):
    with house(committee=NAMED) as consortium:
        honest = consortium.policy
        asked = msgspec.structs.replace(
            honest.require.aggregation, committee=CommitteeFloor(**floor)
        )
        consortium.policy = msgspec.structs.replace(
            honest, require=msgspec.structs.replace(honest.require, aggregation=asked)
        )
        outcome = consortium.drive(1, 1).run()
        assert set(outcome.refused.values()) == {Reason.POLICY_COMMITTEE}
        assert all(isinstance(e, PolicyRefused) for e in outcome.failed.values())
        assert "plan.aggregation.committee." in str(outcome.failed["c000"])
        consortium.policy = honest
        consortium.assert_exact(consortium.drive(1, 2).run())


def test_a_policy_that_names_members_refuses_a_drawn_committee():
    floors = AggregationFloor(
        protocol=("oneshot",),
        min_clients=3,
        committee=CommitteeFloor(members=("c000",)),
    )
    policy = msgspec.structs.replace(make_policy(), require=Requirements(aggregation=floors))
    with pytest.raises(PolicyRefused, match="drawn by the server"):
        policy.check(make_plan(protocol="oneshot", committee="size = 4\ncorrupt = 1"))


def operated(key):
    """A head of the server's ledger, signed with this key."""
    return lambda number: SignedHead.sign(key, b"l" * 16, number, b"h" * 32)


def test_a_server_that_is_enrolled_is_refused():
    """It could be a member of the committee that is to hold it in check."""
    with noisy_house(protocol="oneshot", committee=NAMED, value_bits=8) as consortium:
        enrolled = consortium.identities["m-one"].key
        apart = SigningKey.from_seed(b"o" * 32)
        consortium.head = operated(apart)
        twin = consortium.drive().run()
        assert twin.survivors == consortium.names
        consortium.head = operated(enrolled)
        with pytest.raises(ConfigurationError, match="key is enrolled"):
            consortium.server(2)
        # A server that does not mind is refused by members and clients.
        plan, head, known = consortium.round_plan(2), consortium.head(2), consortium.directory
        seat, place = (
            consortium.committee(2).memberships()[1],
            consortium.cohort(2).memberships()[0],
        )
        summons = Summons(plan, seat, encode(known), encode(head))
        invitation = Invitation(plan, place, encode(known), consortium.broadcast, encode(head))
        for party, message in (
            (consortium.member("m-two", 2), summons),
            (consortium.client("c000", 2), invitation),
        ):
            with pytest.raises(PeerError) as caught:
                list(party.receive(SERVER, encode(message)))
            assert caught.value.reason is Reason.COMMITTEE


def test_a_member_that_is_not_enrolled_is_refused_by_the_server():
    with house(committee=NAMED) as consortium:
        authority = SigningKey.from_seed(b"a" * 32)
        keys = [(n, consortium.identities[n].key.public) for n in consortium.names]
        consortium.directory = Directory.sign(1, keys, authority)
        with pytest.raises(ConfigurationError, match="m-one is not in the directory: enrol it"):
            consortium.round_plan()


def test_a_message_as_a_member_of_who_is_none_puts_it_out():
    with house(committee=NAMED) as consortium:
        server = consortium.server()
        list(server.invite([*consortium.names, *consortium.committee().members]))
        body = encode(InputsClosed(()))
        message = encode(MemberEnvelope(consortium.round_plan().round_id, body))
        with pytest.raises(PeerError) as caught:
            list(server.receive("c001", message))
        assert caught.value.reason is Reason.UNKNOWN_SENDER
        assert caught.value.culprits == ("c001",)


def left_committee(consortium):
    """A client that is of round 1's committee and of no later round's, and that later round."""
    first = set(consortium.committee(1).members)
    number = next(n for n in range(2, 99) if first - set(consortium.committee(n).members))
    return min(first - set(consortium.committee(number).members)), number


@pytest.mark.parametrize("refuses", [False, True, None], ids=["answers", "refuses", "unread"])
def test_a_member_of_an_earlier_round_that_is_late_stays_in_the_next_one(refuses):
    with house(6) as consortium:
        name, number = left_committee(consortium)
        sends = list(consortium.server(1).invite(consortium.names))
        summons = next(s.message for s in sends if s.recipient == name)
        effects = consortium.member(name, 1).receive(SERVER, summons)
        [late] = [e.message for e in effects if isinstance(e, Send)]
        if refuses is not False:
            attempt = consortium.round_plan(1).round_id if refuses else bytes(32)
            late = encode(MemberRefusal(attempt, Reason.FAILED.value))
        told = []

        def slow(delivery):
            if not told and delivery.sender == SERVER and delivery.recipient == name:
                told.append(delivery)
                yield Delivery(name, SERVER, delivery.phase, late)
            yield delivery

        outcome = consortium.drive(number, channel=slow).run()
        assert told
        assert not outcome.excluded
        assert not outcome.refused
        assert outcome.survivors == consortium.names
        consortium.assert_exact(outcome)


def test_a_client_of_an_earlier_round_that_is_late_is_not_named_in_the_next_one():
    """It is of no role there: nobody of the cohort, and of no committee."""
    with house() as consortium:
        server = consortium.server()
        list(server.invite(consortium.names))
        for late in (
            Envelope(b"e" * 32, b"late"),
            MemberEnvelope(b"e" * 32, b"late"),
            Refusal(b"e" * 32, Reason.FAILED.value),
            Refusal(bytes(32), Reason.FAILED.value),
            MemberRefusal(bytes(32), Reason.FAILED.value),
        ):
            with pytest.raises(PeerError) as caught:
                list(server.receive("c099", encode(late)))
            assert caught.value.reason is Reason.WRONG_ROUND
            assert not caught.value.culprits
        assert not server.refused


def test_a_late_envelope_changes_nothing_for_a_member():
    with house() as consortium:
        server, name = consortium.server(), consortium.committee().members[0]
        sends = list(server.invite(consortium.names))
        summons = next(s.message for s in sends if s.recipient == name)
        member = consortium.member(name)
        list(member.receive(SERVER, summons))
        with pytest.raises(PeerError) as caught:
            list(member.receive(SERVER, encode(MemberEnvelope(b"x" * 32, b""))))
        assert caught.value.reason is Reason.WRONG_ROUND
        assert not member.has_left
        with pytest.raises(PeerError) as caught:
            list(member.receive("c001", summons))
        assert caught.value.reason is Reason.UNKNOWN_SENDER
        assert member.has_left


def test_a_client_goes_on_where_it_was_suspended():
    """Before it is shown the committee, and after that; what it was sent is checked once."""
    with house() as consortium:
        server, members = consortium.server(), consortium.members()
        client, name = consortium.client("c000"), "c000"

        def woken(sealed, why):
            own = consortium.policy, consortium.identities[name], consortium.stores[name]
            return type(client).resume(sealed, *own, rng=consortium.rng.child(why))

        for send in list(server.invite(consortium.names)):
            if is_of_committee(send.message):
                (key,) = members[send.recipient].receive(SERVER, send.message)
                list(server.receive(send.recipient, key.message))
            elif send.recipient == name:
                assert list(client.receive(SERVER, send.message)) == []
        told = [e for e in server.advance() if isinstance(e, Send) and e.recipient == name]
        (shown,) = [e.message for e in told if not is_of_committee(e.message)]
        second = woken(client.suspend(), "second")
        assert list(second.receive(SERVER, shown)) == []
        third = woken(second.suspend(), "third")
        sent = list(third.contribute(consortium.update(name)))
        for effect in sent[:-1]:
            list(server.receive(name, effect.message))
        assert isinstance(sent[-1], Done)
        assert name not in server.waiting_for


# ---------------------------------------------------------------------- plans


@pytest.mark.parametrize(
    ("committee", "told"),
    [
        ("", "committee is missing: name its members"),
        ('size = 3\nmembers = ["a", "b"]', "size = 3 where 2 members are named"),
        ('members = ["a", "b", "a"]', "names somebody twice"),
    ],
)
def test_a_plan_whose_committee_cannot_be_is_refused(committee, told):
    with pytest.raises(ConfigurationError, match=told):
        make_plan(protocol="oneshot", committee=committee)


@pytest.mark.parametrize(
    ("committee", "rules", "told"),
    [
        ("size = 6\ncorrupt = 1", {}, "size 6 is more than the cohort of 5"),
        ("size = 4", {}, "the server, which draws the committee, may draw all of these"),
        (
            "size = 4\ncorrupt = 1\nthreshold = 2",
            {},
            "threshold 2 of 4 with 1 corrupt: from 3 to 4",
        ),
        ("size = 4\ncorrupt = 4", {}, "leaves no threshold"),
        ("size = 4\ncorrupt = 1", {"min_clients": 2}, "may leave one honest"),
    ],
)
def test_a_committee_that_does_not_protect_is_refused(committee, rules, told):
    with (
        house(committee=committee, **rules) as consortium,
        pytest.raises(ConfigurationError, match=told),
    ):
        consortium.round_plan()


def test_a_committee_has_no_use_with_another_protocol():
    with pytest.raises(ConfigurationError, match="committee has no use with secagg"):
        make_plan(committee="size = 4")
    with pytest.raises(ConfigurationError, match=r"threshold = 3 has no use with oneshot"):
        make_plan(protocol="oneshot", committee="size = 4\ncorrupt = 1", threshold=3)


def test_the_guarantee_says_who_can_decrypt():
    with house() as consortium:
        told = str(Guarantee.of(consortium.plan, 5, 8))
    assert "Nobody alone can decrypt: it takes 3 of 4 members drawn from the clients" in told
    assert "Not against 3 or more members that are in league" in told
    assert "Up to 1 members may be lost at any moment, silent ones in league" in told


def test_a_server_needs_the_committee_that_the_plan_commits_to():
    with house() as consortium:
        told = consortium.directory, consortium.broadcast
        other = Cohort.of(consortium.names[:4], rng=consortium.rng.child("other"))
        for committee in (None, other):
            with pytest.raises(ConfigurationError, match="committee"):
                RoundServer(
                    consortium.round_plan(),
                    consortium.cohort(),
                    *told,
                    rng=consortium.rng,
                    committee=committee,
                )


def test_a_consortium_without_a_committee_is_as_it_was():
    with Consortium() as consortium:
        assert consortium.committee() is None
        assert not consortium.round_plan().committee_root.strip(b"\0")
