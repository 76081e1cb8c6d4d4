"""Receipts: who gets one after an attempt is settled, who keeps it, and what a bad one changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.crypto import SigningKey
from fedprivacy.errors import PeerError, Reason
from fedprivacy.ledger import SignedHead
from fedprivacy.rounds import Settled
from fedprivacy.secagg import SERVER
from fedprivacy.wire import encode
from rounddrive import make_policy, noisy_house

OPERATOR = SigningKey.from_seed(b"o" * 32)
LEDGER = b"ledger-16-bytes!"


def head(number, body=b"h", operator=OPERATOR, ledger=LEDGER):
    return SignedHead.sign(operator, ledger, number, body * 32)


def named(number):
    """The head in a round's plan; what is settled of it has the next row."""
    return head(3 * number)


def since(number):
    return head(3 * number + 2)


@pytest.fixture
def house():
    with noisy_house(head=named) as consortium:
        yield consortium


def settled(house, number=1, **hooks):
    drive = house.drive(number, **hooks)
    outcome = drive.run()
    drive.settle(since(number))
    return outcome


def test_everyone_who_took_part_keeps_a_receipt(house):
    for number in (1, 2):
        house.broadcast = b"weights %d" % number
        assert settled(house, number).error is None
    kept = {store.heads() for store in house.stores.values()}
    assert kept == {(named(1), since(1), named(2), since(2))}


def test_who_declined_or_said_nothing_gets_none(house):
    make = house.client

    def client(name, *place):
        house.policy = make_policy(floor=6 if name == "c001" else 3)
        return make(name, *place)

    house.client = client

    def lose(delivery):
        return () if delivery.sender == "c002" else (delivery,)

    outcome = settled(house, channel=lose)
    assert outcome.refused == {"c001": Reason.POLICY_COHORT}
    kept = {name: store.heads() for name, store in house.stores.items()}
    assert kept.pop("c001") == ()
    assert kept.pop("c002") == (named(1),)
    assert set(kept.values()) == {(named(1), since(1))}


def test_an_attempt_without_a_sum_has_receipts_as_well(house):
    def lose(delivery):
        gone = delivery.phase == "unmasking" and delivery.client > "c001"
        return () if gone and delivery.sender != SERVER else (delivery,)

    outcome = settled(house, channel=lose)
    assert outcome.error.reason is Reason.TOO_FEW
    assert outcome.unmasking_requested
    assert {store.heads() for store in house.stores.values()} == {(named(1), since(1))}


def test_a_receipt_that_is_lost_costs_nothing(house):
    def lose(delivery):
        return () if delivery.phase == "done" and delivery.client == "c000" else (delivery,)

    assert settled(house, channel=lose).failed == {}
    house.broadcast = b"other weights"
    assert settled(house, 2).survivors == house.names
    assert house.stores["c000"].heads() == (named(1), named(2), since(2))


LIES = {
    "another-operator": (head(5, operator=SigningKey.from_seed(b"p" * 32)), Reason.RECEIPT_CHANGED),
    "another-ledger": (head(5, ledger=b"another-16-bytes"), Reason.RECEIPT_CHANGED),
    "the-same-row": (named(1), Reason.RECEIPT_CHANGED),
    "an-earlier-row": (head(2), Reason.RECEIPT_CHANGED),
    "unsigned": (SignedHead(LEDGER, 5, bytes(32), OPERATOR.public, bytes(64)), Reason.MALFORMED),
    "no-head": (b"\x90", Reason.MALFORMED),
    "nothing": (b"", Reason.MALFORMED),
}


def told(client, message, sender=SERVER):
    """What a client does on a message, and why it refuses it, if it does."""
    try:
        return list(client.receive(sender, message)), None
    except PeerError as error:
        return [], error.reason


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("phase", ["shares", "input", "consistency", "unmasking", "done"])
def test_whatever_is_wrong_with_a_receipt_the_round_goes_on(house, lie, phase):
    """Told to everyone, in any phase, beside what is due: refused, and without any effect."""
    body, reason = LIES[lie]
    body = body if isinstance(body, bytes) else encode(body)
    said, server = [], []
    drive = house.drive()
    message = encode(Settled(house.round_plan().round_id, body))

    def channel(delivery):
        if delivery.recipient == SERVER:
            return (delivery,)
        if delivery.phase == phase:
            effects, refused = told(drive._clients[delivery.client], message)
            server.extend(effects)
            said.append(refused)
        return (delivery,)

    drive._channel = channel
    outcome = drive.run()
    drive.settle(since(1))
    assert outcome.aggregate is not None
    assert outcome.survivors == house.names
    assert outcome.failed == {}
    assert (said, server) == ([reason] * len(house.names), [])
    assert {store.heads() for store in house.stores.values()} == {(named(1), since(1))}


def test_a_receipt_of_another_attempt_or_of_no_ledger_is_not_taken(house):
    drive = house.drive()
    assert drive.run().error is None
    client = drive._clients["c000"]
    stray = encode(Settled(bytes(32), encode(since(1))))
    assert told(client, stray) == ([], Reason.WRONG_ROUND)
    with noisy_house() as bare:
        drive = bare.drive()
        assert drive.run().error is None
        receipt = encode(Settled(bare.round_plan().round_id, encode(since(1))))
        assert told(drive._clients["c000"], receipt) == ([], Reason.UNEXPECTED)
        assert bare.stores["c000"].heads() == ()


def test_a_client_that_has_left_takes_no_receipt(house):
    drive = house.drive()
    assert drive.run().error is None
    client = drive._clients["c000"]
    told(client, b"\x90")
    assert client.has_left
    receipt = encode(Settled(house.round_plan().round_id, encode(since(1))))
    assert told(client, receipt) == ([], Reason.UNEXPECTED)
    assert house.stores["c000"].heads() == (named(1),)


def test_a_receipt_is_held_against_the_next_plan(house):
    assert settled(house).error is None
    house.broadcast, house.head = b"other weights", lambda _: head(5, b"i")
    outcome = house.drive(2).run()
    assert set(outcome.refused.values()) == {Reason.RECEIPT_CHANGED}


@given(data=st.data())
def test_whatever_bytes_come_as_a_receipt_only_a_refusal_comes_of_it(data):
    honest = encode(since(1))
    place = st.integers(0, len(honest) - 1)
    body = data.draw(
        st.binary(max_size=256)
        | place.map(lambda end: honest[:end])
        | st.tuples(place, st.integers(1, 255)).map(
            lambda at: honest[: at[0]] + bytes([honest[at[0]] ^ at[1]]) + honest[at[0] + 1 :]
        )
    )
    with noisy_house(head=named) as house:
        client = house.client("c000")
        (invitation,) = house.server().invite(["c000"])
        list(client.receive(SERVER, invitation.message))
        effects, refused = told(client, encode(Settled(house.round_plan().round_id, body)))
        assert effects == []
        assert refused is not None
        assert not client.has_left
        assert house.stores["c000"].heads() == (named(1),)
