"""A member of a committee may leave memory between any two messages; each state is good once."""

from dataclasses import replace

import pytest

from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.ledger import Role
from fedprivacy.rounds import MemberEnvelope, RoundMember
from fedprivacy.secagg import SERVER
from fedprivacy.secagg.oneshot.member_state import SLEEPING, MemberPhase
from fedprivacy.secagg.oneshot.messages import UnopenedShares
from fedprivacy.wire import decode
from rounddrive import Consortium, make_plan

NAMED = 'members = ["m-one", "m-two", "m-three", "m-four"]\ncorrupt = 1'
DRAWN = "size = 4\ncorrupt = 1"
MOMENTS = tuple(phase.value for phase in SLEEPING)
ME = "m-two"


def house(committee=NAMED):
    return Consortium(plan=make_plan(protocol="oneshot", committee=committee))


def resumed(house, name, sealed, attempt=1):
    rng = house.rng.child(f"member/{name}/1/{attempt}")
    return RoundMember.resume(
        sealed, house.policy, house.identities[name], house.stores[name], rng=rng
    )


class Sleeper:
    """A member that sleeps between all messages; `blobs` has every state, by moment."""

    def __init__(self, house, name, attempt=1, until=None):
        self.house, self.name, self.attempt, self.until = house, name, attempt, until
        self.member = house.member(name, 1, attempt)
        self.blobs, self.asleep = {}, None

    @property
    def has_left(self):
        return self.asleep is None and self.member.has_left

    def receive(self, sender, message):
        if self.asleep is not None:
            if self.asleep == self.until:
                return
            sealed = self.blobs[self.asleep]
            self.member, self.asleep = resumed(self.house, self.name, sealed, self.attempt), None
        yield from self.member.receive(sender, message)
        moment = self.member._party.phase.value
        if moment in MOMENTS:
            self.blobs[moment], self.asleep = self.member.suspend(), moment


def run(house, attempt=1, **hooks):
    names = house.committee().members
    sleepers = {name: Sleeper(house, name, attempt) for name in names}
    return house.drive(1, attempt, committee=sleepers, **hooks).run(), sleepers


@pytest.mark.parametrize("committee", [NAMED, DRAWN], ids=["named", "drawn"])
def test_everybody_sleeps_between_any_two_messages_and_the_sum_is_exact(committee):
    with house(committee) as consortium:
        outcome, sleepers = run(consortium)
        consortium.assert_exact(outcome)
        assert not outcome.failed_members
        assert all(set(sleeper.blobs) == set(MOMENTS) for sleeper in sleepers.values())


def test_a_share_that_did_not_open_is_still_complained_about_after_the_sleep():
    """The share that m-two is dealt by one client is spoilt on its way."""
    spoilt, told = [], []

    def spoil(delivery):
        if delivery.recipient == ME and b"key-share" in delivery.message and not spoilt:
            spoilt.append(delivery)
            message = delivery.message[:-1] + bytes([delivery.message[-1] ^ 1])
            return (replace(delivery, message=message),)
        if delivery.sender == ME and b"unopened-shares" in delivery.message:
            body = decode(MemberEnvelope, delivery.message, limit=1 << 20).body
            told.append(decode(UnopenedShares, body, limit=1 << 20).clients)
        return (delivery,)

    with house() as consortium:
        outcome, _ = run(consortium, channel=spoil)
        consortium.assert_exact(outcome)
        assert spoilt
        assert [len(clients) for clients in told] == [1]


def asleep(consortium, moment, attempt=1):
    """The state of a member that is asleep from this moment on."""
    names = consortium.committee().members
    members = {name: consortium.member(name, 1, attempt) for name in names}
    kept = members[ME] = Sleeper(consortium, ME, attempt, until=moment)
    consortium.drive(1, attempt, committee=members).run()
    return kept.blobs[moment]


def refused(consortium, sealed, name=ME):
    with pytest.raises(PeerError) as caught:
        resumed(consortium, name, sealed)
    assert caught.value.reason is Reason.SEALED_STATE


@pytest.mark.parametrize(
    "moment",
    ["consistency", *(pytest.param(m, marks=pytest.mark.nightly) for m in MOMENTS[:-1])],
)
def test_a_state_is_resumed_once(moment):
    with house() as consortium:
        sealed = asleep(consortium, moment)
        refused(consortium, sealed, "m-one")
        refused(consortium, sealed[:-1] + bytes([sealed[-1] ^ 1]))
        assert resumed(consortium, ME, sealed)._party.phase.value == moment
        refused(consortium, sealed)


def test_a_state_of_a_member_is_none_of_a_client():
    with house() as consortium:
        sealed = asleep(consortium, "opening")
        with pytest.raises(PeerError):
            consortium.stores[ME].resume(sealed, identity=consortium.identities[ME])
        assert resumed(consortium, ME, sealed)._party.phase is MemberPhase.TOLD


def test_a_later_attempt_ends_the_sleep_and_a_client_does_not():
    with house() as consortium:
        sealed = asleep(consortium, "keys")
        plan = consortium.round_plan(1, 1)
        begun = plan.run_id, plan.round, plan.attempt, plan.round_id, plan.broadcast
        consortium.stores[ME].begin(*begun, terms=plan.terms)  # the same identity, as a client
        later = consortium.round_plan(1, 2)
        begun = later.run_id, later.round, later.attempt, later.round_id, later.broadcast
        consortium.stores[ME].begin(*begun, terms=later.terms)
        member = resumed(consortium, ME, sealed)
        again = member.suspend()
        consortium.stores[ME].begin(*begun, terms=later.terms, role=Role.MEMBER)
        refused(consortium, again)


def test_nobody_sleeps_before_a_plan_or_after_the_end():
    with house() as consortium:
        members = consortium.members()
        with pytest.raises(ConfigurationError, match="has accepted no plan"):
            members[ME].suspend()
        consortium.drive(committee=members).run()
        with pytest.raises(ConfigurationError, match="nothing to suspend in phase ended"):
            members[ME].suspend()


def test_a_member_that_sleeps_is_dead_and_has_erased():
    with house() as consortium:
        member = resumed(consortium, ME, asleep(consortium, "opening"))
        held = [share.share for share in member._party._held.values()]
        assert any(share.any() for share in held)
        member.suspend()
        assert member.has_left
        assert not any(share.any() for share in held)
        assert not any(member._party._rand)
        with pytest.raises(PeerError) as caught:
            list(member.receive(SERVER, b"\x90"))
        assert caught.value.reason is Reason.UNEXPECTED


@pytest.mark.parametrize(("moment", "has_key"), [("input", True), ("opening", False)])
def test_once_the_inputs_are_closed_no_key_is_in_the_state(moment, has_key):
    with house() as consortium:
        member = resumed(consortium, ME, asleep(consortium, moment))
        assert (member._party._pair is not None) is has_key
        assert any(member._party._rand) is has_key
