"""Lies of a server with a committee: about who its members are, and in what they are asked."""

import dataclasses

import msgspec

from fedprivacy.crypto import SigningKey
from fedprivacy.errors import FedPrivacyError, Reason
from fedprivacy.ledger import SignedHead
from fedprivacy.rounds import MemberEnvelope, Summons
from fedprivacy.rounds.policy import CommitteeFloor
from fedprivacy.secagg import SERVER, Cohort
from fedprivacy.secagg.masking.messages import SurvivorSet, UnmaskRequest
from fedprivacy.secagg.oneshot.messages import InputsClosed, KeyShare
from fedprivacy.transport import Delivery
from fedprivacy.wire import decode, encode
from lie_registry import lie
from lying_server import Told
from rounddrive import Consortium, make_noise, make_plan, make_policy, noisy_house

ANY = 1 << 30
DRAWN = "size = 4\ncorrupt = 1"
NAMED = 'members = ["m-one", "m-two", "m-three", "m-four"]\ncorrupt = 1'


def house(committee=DRAWN, **more):
    return Consortium(plan=make_plan(protocol="oneshot", committee=committee), **more)


def came(consortium, outcome):
    """What came of an attempt, in the terms of lies; won where a sum came out."""
    summed = outcome.aggregate is not None
    exact = summed and (
        outcome.aggregate.sum.tolist() == consortium.exact(outcome.survivors).tolist()
    )
    refusals = [*outcome.refused.items(), *((n, e.reason) for n, e in outcome.excluded.items())]
    return Told(refusals, won=summed and bool(refusals), exact=exact)


def changed_for(consortium, name, kind, change):
    """One attempt in which this member is given another message of this kind, once."""
    left = [name]

    def lie_to(delivery):
        if delivery.recipient != name or not left:
            return (delivery,)
        try:
            told = decode(MemberEnvelope, delivery.message, limit=ANY)
            body = encode(change(decode(kind, told.body, limit=ANY)))
        except FedPrivacyError:
            return (delivery,)
        left.clear()
        message = encode(MemberEnvelope(told.round_id, body))
        return (Delivery(SERVER, name, delivery.phase, message),)

    members = consortium.members()
    outcome = consortium.drive(channel=lie_to, committee=members).run()
    told = came(consortium, outcome)
    # Whether this member went along.
    return dataclasses.replace(told, won=not members[name].has_left)


@lie(Reason.POLICY_COMMITTEE)
def committee_below_policy(honest):
    """Three of four members open a sum where a client asks for four."""
    threshold = 4 if honest else 3
    with house(f"{DRAWN}\nthreshold = {threshold}") as consortium:
        policy = make_policy(protocol="oneshot")
        floors = msgspec.structs.replace(
            policy.require.aggregation, committee=CommitteeFloor(threshold=4)
        )
        require = msgspec.structs.replace(policy.require, aggregation=floors)
        consortium.policy = msgspec.structs.replace(policy, require=require)
        outcome = consortium.drive().run()
        told = came(consortium, outcome)
        return dataclasses.replace(told, won=outcome.aggregate is not None and not honest)


@lie(Reason.COMMITTEE)
def a_server_that_is_a_member(honest):
    """The key that signs for the server's ledger is that of a member of the committee."""
    plan = {"protocol": "oneshot", "committee": NAMED, "value_bits": 8, "noise": make_noise()}
    with noisy_house(**plan) as consortium:
        own, apart = consortium.identities["m-one"].key, SigningKey.from_seed(b"o" * 32)
        key = apart if honest else own
        consortium.head = lambda number: SignedHead.sign(key, b"l" * 16, number, b"h" * 32)
        frozen, seat = consortium.round_plan(), consortium.committee().memberships()[1]
        head, known = encode(consortium.head(1)), encode(consortium.directory)
        member = consortium.member("m-two")
        try:
            said = list(member.receive(SERVER, encode(Summons(frozen, seat, known, head))))
        except FedPrivacyError as error:
            return Told([("m-two", error.reason)])
        return Told([], won=bool(said), exact=honest)


@lie(Reason.ATTEMPT_CHANGED)
def another_committee_at_the_second_attempt(honest):
    """Members that have answered nothing yet are asked for nearly the same clients."""
    with house() as consortium:
        consortium.drive(1, 1, channel=lambda d: () if d.phase == "input" else (d,)).run()
        if not honest:
            drawn, rng = consortium.committee().members, consortium.rng.child("other")
            other = Cohort.of(drawn[::-1], rng=rng)
            consortium.committee = lambda number=1: other
        outcome = consortium.drive(1, 2).run()
        told = came(consortium, outcome)
        return dataclasses.replace(told, won=outcome.aggregate is not None and not honest)


@lie(Reason.SURVIVORS_FEW)
def a_set_below_the_floor_that_clients_sealed(honest):
    """Two survivors, where the plan and every client's share ask for three."""
    with house(NAMED) as consortium:
        if honest:
            return came(consortium, consortium.drive().run())
        return changed_for(consortium, "m-two", SurvivorSet, lambda s: SurvivorSet(s.survivors[:2]))


@lie(Reason.CONSISTENCY_QUORUM)
def a_request_with_too_few_signatures(honest):
    """A member is to answer for a set that it has signed alone: others are shown another."""
    with house(NAMED) as consortium:
        if honest:
            return came(consortium, consortium.drive().run())
        return changed_for(
            consortium, "m-two", UnmaskRequest, lambda r: UnmaskRequest(r.signatures[:1])
        )


@lie(Reason.KEY_SIGNATURE)
def an_input_that_no_client_signed(honest):
    """The server makes a client up, so that fewer honest ones are in the sum."""
    with house(NAMED) as consortium:
        if honest:
            return came(consortium, consortium.drive().run())

        def made_up(share):
            return msgspec.structs.replace(share, signature=bytes(64))

        return changed_for(consortium, "m-two", KeyShare, made_up)


@lie(Reason.SHARE_MISSING)
def inputs_closed_without_one_of_them(honest):
    """Of a client whose share it holds, a member is told that its input never came."""
    with house(NAMED) as consortium:
        if honest:
            return came(consortium, consortium.drive().run())
        return changed_for(
            consortium, "m-two", InputsClosed, lambda closed: InputsClosed(closed.clients[1:])
        )


@lie(Reason.COHORT_PROOF)
def a_client_more_than_planned(honest):
    """A share of somebody who is not of the committed cohort: sums could run over."""
    with house(NAMED) as consortium:
        if honest:
            return came(consortium, consortium.drive().run())

        def outside(share):
            who = msgspec.structs.replace(share.membership, salt=bytes(32))
            return msgspec.structs.replace(share, membership=who)

        return changed_for(consortium, "m-two", KeyShare, outside)


@lie(Reason.ROUND_SEEN)
def a_seed_used_twice(honest):
    """A member is asked to begin the same attempt again, with the same seed of polynomials."""
    with house(NAMED) as consortium:
        if honest:
            return came(consortium, consortium.drive().run())
        server = consortium.server()
        everyone = [*consortium.names, "m-two"]
        (summons,) = [s.message for s in server.invite(everyone) if s.recipient == "m-two"]
        list(consortium.member("m-two").receive(SERVER, summons))
        try:
            said = list(consortium.member("m-two").receive(SERVER, summons))
        except FedPrivacyError as error:
            return Told([("m-two", error.reason)])
        return Told([], won=bool(said))


@lie(Reason.ANSWERED)
def a_second_set_after_an_answer(honest):
    """Members have signed at the first attempt; at the second, one client is left out."""

    def lost(delivery):
        return () if delivery.phase == "unmasking" and delivery.sender != SERVER else (delivery,)

    with house(NAMED) as consortium:
        if honest:
            return came(consortium, consortium.drive().run())
        consortium.drive(1, 1, channel=lost).run()
        outcome = consortium.drive(1, 2).run([*consortium.names[1:], *consortium.identities])
        told = came(consortium, outcome)
        return dataclasses.replace(told, won=outcome.aggregate is not None)
