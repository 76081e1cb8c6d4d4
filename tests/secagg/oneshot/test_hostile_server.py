"""A server that lies to clients and to the committee; each lie has an honest twin."""

import itertools

import msgspec
import numpy as np
import pytest

from fedprivacy.crypto import KeyPair
from fedprivacy.errors import PeerError, Reason
from fedprivacy.secagg import SERVER, Mark, Persist, Send
from fedprivacy.secagg.masking.messages import SurvivorSet, SurvivorSignature, UnmaskRequest
from fedprivacy.secagg.oneshot import client as client_module
from fedprivacy.secagg.oneshot.member import MemberPhase
from fedprivacy.secagg.oneshot.messages import CommitteeRoster, InputsClosed, KeyShare, KeySum
from fedprivacy.wire import decode, encode
from honest import kind_of
from oneshotdrive import OneShotDrive, OneShotSum

ANY = 1 << 30
KINDS = {
    k.__struct_config__.tag: k
    for k in (CommitteeRoster, KeyShare, InputsClosed, SurvivorSet, UnmaskRequest)
}


def read(body):
    return decode(KINDS[kind_of(body)], body, limit=ANY)


def lying(change, *, to=None, **shape):
    """A round in which the server's messages are changed on their way; `change` may give several.

    Its honest twin, the same without the change, completes.
    """
    twin = OneShotDrive(OneShotSum(**shape)).run()
    assert twin.done is not None
    case = OneShotSum(**shape)

    def relay(name, phase, body):
        if to is not None and name not in to:
            return [body]
        changed = change(name, read(body))
        if changed is None:
            return [body]
        return [m if isinstance(m, bytes) else encode(m) for m in changed]

    return case, OneShotDrive(case, relay=relay).run()


def reasons(outcome):
    return {name: error.reason for name, error in outcome.failed.items()}


def everyone(case, reason):
    return dict.fromkeys(case.committee_names, reason)


# ---------------------------------------------------------------------- the committee's roster


def changed_roster(change):
    def apply(name, message):
        if isinstance(message, CommitteeRoster):
            return [CommitteeRoster(tuple(change(list(message.entries))))]
        return None

    return apply


def with_key(entries, key):
    return [msgspec.structs.replace(entries[0], seal_key=key), *entries[1:]]


def other_place(entries):
    elsewhere = msgspec.structs.replace(entries[0].membership, salt=bytes(32))
    return [msgspec.structs.replace(entries[0], membership=elsewhere), *entries[1:]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda e: with_key(e, KeyPair(bytes(range(32))).public), Reason.KEY_SIGNATURE),
        (lambda e: with_key(e, bytes(32)), Reason.KEY_SIGNATURE),
        (other_place, Reason.COHORT_PROOF),
        (lambda e: e[:2], Reason.ROSTER_SIZE),
        (lambda e: [e[0], *e], Reason.NON_CANONICAL),
        (lambda e: e[::-1], Reason.NON_CANONICAL),
        (lambda e: with_key(e, e[1].seal_key), Reason.DUPLICATE_MEMBER),
    ],
    ids=["swapped-key", "weak-key", "not-committed", "few", "twice", "reversed", "shared-key"],
)
def test_a_client_seals_nothing_to_a_committee_that_is_not_the_one_of_the_plan(change, reason):
    case, outcome = lying(changed_roster(change), to=["c000"])
    assert reasons(outcome) == {"c000": reason}
    assert ("c000", "input") not in outcome.sent
    assert outcome.done.survivors == case.names[1:]


def test_a_member_that_is_left_out_of_the_roster_takes_no_part():
    case, outcome = lying(changed_roster(lambda e: e[1:]), to=["m00"])
    assert reasons(outcome) == {"m00": Reason.OWN_ENTRY}
    assert outcome.done.survivors == case.names


def test_two_rosters_have_no_session_in_common():
    """Clients shown four members and clients shown five sign for two sessions: one is refused."""
    case, outcome = lying(changed_roster(lambda e: e[:-1]), to=["c000"])
    assert outcome.refused == {"c000": [Reason.MALFORMED]}
    assert outcome.done.survivors == case.names[1:]


def test_a_client_that_has_sent_says_no_more():
    case = OneShotSum()
    outcome = OneShotDrive(case).run()
    roster = next(b for b in outcome.sent[SERVER, "input"] if kind_of(b) == "committee-roster")
    for name in case.names:
        with pytest.raises(PeerError) as caught:
            list(case.parties[name].receive(SERVER, roster))
        assert caught.value.reason is Reason.SPENT


# ---------------------------------------------------------------------- the clients' shares


def on_share(change):
    return lambda name, message: change(message) if isinstance(message, KeyShare) else None


def impostor(share):
    """The server's own input in a client's name."""
    pair = KeyPair(bytes(range(32)))
    return [msgspec.structs.replace(share, agreement_key=pair.public)]


def invented(share):
    who = msgspec.structs.replace(share.membership, client_id="sybil", salt=bytes(32))
    return [msgspec.structs.replace(share, membership=who)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (impostor, Reason.KEY_SIGNATURE),
        (lambda s: [msgspec.structs.replace(s, ciphertext=bytes(32))], Reason.KEY_SIGNATURE),
        (invented, Reason.COHORT_PROOF),
        (lambda s: [s, s], Reason.DUPLICATE_MEMBER),
    ],
    ids=["impostor", "other-ciphertext", "invented", "twice"],
)
def test_a_member_takes_no_share_that_its_client_did_not_sign(change, reason):
    case, outcome = lying(on_share(change))
    assert reasons(outcome) == everyone(case, reason)
    assert outcome.error.reason is Reason.TOO_FEW


def test_a_share_of_another_round_is_refused():
    earlier = OneShotDrive(OneShotSum(round_id=b"q" * 32)).run()
    old = next(b for b in earlier.sent[SERVER, "input"] if kind_of(b) == "key-share")
    case, outcome = lying(on_share(lambda share: [old]))
    assert reasons(outcome) == everyone(case, Reason.COHORT_PROOF) or reasons(outcome) == everyone(
        case, Reason.KEY_SIGNATURE
    )
    assert outcome.done is None


def test_clients_who_are_not_enrolled_are_nobody():
    """A cohort of the server's own making: its members are in no directory."""
    case = OneShotSum()
    member = case.parties["m00"]
    member._directory = OneShotSum(clients=2).directory
    outcome = OneShotDrive(case).run()
    assert reasons(outcome)["m00"] in {Reason.NOT_ENROLLED, Reason.KEY_SIGNATURE}


def test_a_share_that_is_announced_and_does_not_come_is_noticed():
    def hide(name, message):
        if isinstance(message, KeyShare) and message.membership.client_id == "c001":
            return []
        return None

    case, outcome = lying(hide, to=["m02"])
    assert reasons(outcome) == {"m02": Reason.SHARE_MISSING}
    assert outcome.done.survivors == case.names


def test_a_box_for_another_member_does_not_open():
    """Boxes exchanged between two members: neither opens, and neither member can answer."""
    boxes = {}

    def exchange(name, message):
        if not isinstance(message, KeyShare) or message.membership.index:
            return None
        if name == "m00":
            boxes["m00"] = message.box
            return None
        return [msgspec.structs.replace(message, box=boxes["m00"])] if name == "m01" else None

    case, outcome = lying(exchange, corrupt_members=0)
    assert not outcome.failed
    # Nobody may be corrupt, so that a complaint is true and the client is left out.
    assert outcome.done.survivors == case.names[1:]
    assert outcome.done.total.tolist() == case.exact(case.names[1:]).tolist()


# ---------------------------------------------------------------------- the survivors


def on_survivors(change):
    def apply(name, message):
        if isinstance(message, SurvivorSet):
            return [SurvivorSet(tuple(change(name, list(message.survivors))))]
        return None

    return apply


def test_a_set_below_the_floor_of_the_plan_is_not_signed():
    case, outcome = lying(on_survivors(lambda name, s: s[:2]), min_clients=3)
    assert reasons(outcome) == everyone(case, Reason.SURVIVORS_FEW)


def test_a_set_below_a_members_own_floor_is_not_signed():
    _, outcome = lying(on_survivors(lambda name, s: s[:3]), floors={"m03": 4})
    assert reasons(outcome) == {"m03": Reason.SURVIVORS_FEW}


def test_a_set_below_the_floor_that_a_client_sealed_is_not_signed_with_it():
    case, outcome = lying(on_survivors(lambda name, s: [0, 1, 2]), floors={"c001": 4})
    assert reasons(outcome) == everyone(case, Reason.SURVIVORS_FEW)
    # As many without that client would be signed: only then the server's own set differs.
    _, outcome = lying(on_survivors(lambda name, s: [0, 2, 3]), floors={"c001": 4})
    assert not outcome.failed
    assert outcome.refused["m00"] == [Reason.CONSISTENCY_SIGNATURE]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda name, s: [*s, 7], Reason.SURVIVOR_UNKNOWN),
        (lambda name, s: s[::-1], Reason.NON_CANONICAL),
        (lambda name, s: [s[0], *s], Reason.NON_CANONICAL),
    ],
    ids=["stranger", "reversed", "twice"],
)
def test_a_set_that_is_no_set_of_known_clients_is_not_signed(change, reason):
    case, outcome = lying(on_survivors(change))
    assert reasons(outcome) == everyone(case, reason)


def signed_by(case, survivors):
    """What members sign when they are told of this set, by member."""
    signatures = {}
    for name, told in survivors.items():
        effects = list(case.parties[name].receive(SERVER, encode(SurvivorSet(tuple(told)))))
        (send,) = [e for e in effects if isinstance(e, Send)]
        signatures[name] = msgspec.msgpack.decode(send.message)[1]
    return signatures


def closed(**shape):
    """A round up to the moment when the committee is to be told of the survivors."""
    case = OneShotSum(**shape)
    drive = OneShotDrive(case, lost=dict.fromkeys(case.committee_names, "consistency"))
    drive.run()
    return case


def ask(case, name, signatures):
    """The member's answer to a request with these signatures; None if it refuses."""
    members = case.committee_names
    relayed = tuple(SurvivorSignature(members.index(n), s) for n, s in sorted(signatures.items()))
    try:
        effects = list(case.parties[name].receive(SERVER, encode(UnmaskRequest(relayed))))
    except PeerError as error:
        return error.reason
    return decode(KeySum, next(e for e in effects if isinstance(e, Send)).message, limit=ANY)


def test_two_sets_cannot_both_be_opened():
    """Half of the members are told of all clients, half of all but one: the difference is one.

    Of five members with t = 3, however they are split, at most one side has three signatures; a
    member that gets those of the other side does not answer.
    """
    every, few = (0, 1, 2, 3), (0, 1, 2)
    for count in range(6):
        case = closed(members=5, threshold=3)
        names = case.committee_names
        views = {n: every if i < count else few for i, n in enumerate(names)}
        signatures = signed_by(case, views)
        answers = dict.fromkeys((every, few), 0)
        for name in names:
            own, other = (
                {n: s for n, s in signatures.items() if (views[n] == views[name]) is same}
                for same in (True, False)
            )
            # Every second time with the signatures of the other side among them.
            given = own | other if count % 2 else own
            answers[views[name]] += isinstance(ask(case, name, given), KeySum)
        assert sum(count >= 3 for count in answers.values()) <= 1


def test_a_signature_over_another_set_is_no_signature():
    case = closed()
    names = case.committee_names
    signatures = signed_by(case, {n: (0, 1, 2, 3) if n != "m04" else (0, 1, 2) for n in names})
    assert ask(case, "m00", signatures) is Reason.CONSISTENCY_SIGNATURE


def test_fewer_signatures_than_the_threshold_open_nothing():
    case = closed()
    signatures = signed_by(case, dict.fromkeys(case.committee_names, (0, 1, 2, 3)))
    two = dict(itertools.islice(signatures.items(), 2))
    assert ask(case, "m00", two) is Reason.CONSISTENCY_QUORUM
    three = dict(itertools.islice(signatures.items(), 3))
    assert isinstance(ask(case, "m01", three), KeySum)


def test_one_members_signature_counts_once_and_a_strangers_never():
    case = closed()
    signatures = signed_by(case, dict.fromkeys(case.committee_names, (0, 1, 2, 3)))
    first = signatures["m00"]
    twice = UnmaskRequest(tuple(SurvivorSignature(0, first) for _ in range(3)))
    with pytest.raises(PeerError) as caught:
        list(case.parties["m01"].receive(SERVER, encode(twice)))
    assert caught.value.reason is Reason.NON_CANONICAL
    stranger = UnmaskRequest((SurvivorSignature(9, first),))
    with pytest.raises(PeerError) as caught:
        list(case.parties["m02"].receive(SERVER, encode(stranger)))
    assert caught.value.reason is Reason.CONSISTENCY_SIGNATURE


@pytest.mark.parametrize("second", [(0, 1, 2), (0, 1, 2, 3)])
def test_a_member_signs_one_set_and_answers_once(second):
    case = closed()
    signatures = signed_by(case, dict.fromkeys(case.committee_names, (0, 1, 2, 3)))
    # Another set after it has signed: it waits for signatures, and ends.
    with pytest.raises(PeerError):
        list(case.parties["m00"].receive(SERVER, encode(SurvivorSet(second))))
    assert case.parties["m00"].phase is MemberPhase.FAILED
    assert ask(case, "m00", signatures) is Reason.UNEXPECTED
    assert isinstance(ask(case, "m01", signatures), KeySum)
    assert ask(case, "m01", signatures) is Reason.ANSWERED


def test_a_member_signs_nothing_that_its_store_refuses():
    """The mark is committed before the signature is made: a stream that ends there ends it."""
    case = closed()
    member = case.parties["m00"]
    effects = member.receive(SERVER, encode(SurvivorSet((0, 1, 2, 3))))
    first = next(effects)
    assert isinstance(first, Persist)
    assert first.mark is Mark.ANSWERED
    assert first.members == case.names
    effects.close()
    assert member.phase is MemberPhase.FAILED


def test_what_a_member_holds_is_overwritten_when_it_ends():
    case = closed()
    member = case.parties["m00"]
    shares = [held.share for held in member._held.values()]
    assert len(shares) == 4
    assert all(share.any() for share in shares)
    member.fail()
    assert not any(share.any() for share in shares)
    assert not member._held


def test_the_key_is_overwritten_when_a_client_has_sent(monkeypatch):
    kept = []

    class Kept(client_module.Encryption):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            kept.append(self)

    monkeypatch.setattr(client_module, "Encryption", Kept)
    case = OneShotSum()
    assert OneShotDrive(case).run().done
    assert len(kept) == 4
    for encryption in kept:
        assert not encryption._key.any()
        assert not np.any(encryption._factor._factors)
    assert not any(any(case.parties[n]._rand) for n in case.names)
