"""Every limit of a round covers the longest message that it is for."""

import msgspec
import pytest

from fedprivacy.crypto import Suite
from fedprivacy.crypto.directory import MAX_BYTES, MAX_ENTRIES, Directory
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.ledger import HEAD_LIMIT
from fedprivacy.rounds import Envelope, Invitation
from fedprivacy.rounds.messages import (
    ENVELOPE_LIMIT,
    INVITATION_LIMIT,
    MAX_BODY,
    MAX_BROADCAST,
    MAX_DIRECTORY,
)
from fedprivacy.secagg import PROTOCOLS, Adversary, Membership, SumPlan
from fedprivacy.secagg.cohort import DEPTH, MAX_COHORT
from fedprivacy.secagg.masking.messages import client_limit, server_limit
from fedprivacy.wire import blob_size, decode, encode
from rounddrive import Consortium, make_plan
from sumdrive import CURIOUS

NAMES = {("dataset", "id"): 128, ("dataset", "unit"): 128}
NAMES |= {("aggregation", "protocol"): 64, ("aggregation", "suite"): 64}


@pytest.mark.parametrize("degree", [0, 2, MAX_COHORT - 1])
def test_a_body_has_room_for_the_largest_cohort(degree):
    plan = SumPlan(
        round_id=bytes(32),
        broadcast=bytes(32),
        suite=Suite(1),
        adversary=Adversary.HONEST_BUT_CURIOUS,
        cohort_size=MAX_COHORT,
        cohort_root=bytes(32),
        threshold=2,
        corrupt=0,
        min_clients=2,
        length=1,
        modulus_bits=62,
        degree=degree,
    )
    assert max(server_limit(plan), client_limit(plan)) <= MAX_BODY


def longest_plan():
    """The honest plan with the longest names that a plan holds, of four bytes a letter."""
    plan = Consortium().round_plan()
    inner = plan.plan
    for (section, key), most in NAMES.items():
        part = msgspec.structs.replace(getattr(inner, section), **{key: "\U0001f9ea" * most})
        inner = msgspec.structs.replace(inner, **{section: part})
    return msgspec.structs.replace(plan, plan=inner)


def test_an_envelope_has_room_for_its_body():
    around = len(encode(Envelope(bytes(32), b""))) - blob_size(0)
    assert around + blob_size(MAX_BODY) <= ENVELOPE_LIMIT


def test_an_invitation_has_room_for_plan_and_place():
    place = Membership(MAX_COHORT - 1, "c" * 64, bytes(32), (bytes(32),) * DEPTH)
    message = encode(Invitation(longest_plan(), place, b"", b"", bytes(HEAD_LIMIT)))
    assert decode(Invitation, message, limit=INVITATION_LIMIT).membership == place
    around = len(message) - 2 * blob_size(0)
    # Numbers take nine bytes at most, of which the plan's own take a few.
    around += 9 * 32
    assert around + blob_size(MAX_DIRECTORY) + blob_size(MAX_BROADCAST) <= INVITATION_LIMIT


@pytest.mark.parametrize("where", NAMES, ids=".".join)
def test_a_longer_name_is_no_plan(where):
    section, key = where
    plan = longest_plan()
    part = getattr(plan.plan, section)
    longer = msgspec.structs.replace(part, **{key: getattr(part, key) + "x"})
    told = msgspec.structs.replace(
        plan, plan=msgspec.structs.replace(plan.plan, **{section: longer})
    )
    place = Membership(0, "c000", bytes(32), ())
    with pytest.raises(PeerError) as caught:
        decode(Invitation, encode(Invitation(told, place, b"", b"", b"")), limit=INVITATION_LIMIT)
    assert caught.value.reason is Reason.MALFORMED


def test_every_protocol_and_suite_has_a_name_that_a_plan_holds():
    assert all(0 < len(name) <= 64 for name in [*PROTOCOLS, *(suite.label for suite in Suite)])


def test_an_invitation_takes_every_directory_and_nothing_longer():
    entry = encode(Directory(1, (("c" * 64, b"k" * 32),), bytes(64)))
    nobody = encode(Directory(1, (), bytes(64)))
    # The epoch's eight bytes more, and four for the number of entries.
    assert len(nobody) + 8 + 4 + MAX_ENTRIES * (len(entry) - len(nobody)) <= MAX_BYTES
    assert MAX_DIRECTORY == MAX_BYTES


def test_a_curious_plan_is_not_frozen_with_a_directory():
    with Consortium() as signed, Consortium(plan=make_plan(CURIOUS.adversary)) as house:
        house.directory = signed.directory
        with pytest.raises(ConfigurationError, match=r"^directory of epoch 1 .*: leave it out"):
            house.round_plan()
