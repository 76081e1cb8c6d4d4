"""The scripts behind the vectors: honest runs with losses, and runs with one lie each."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from fedprivacy.arithmetic import PRIME
from fedprivacy.crypto import KeyPair
from fedprivacy.secagg.masking.messages import (
    ConsistencySignature,
    SurvivorSet,
    SurvivorSignature,
    UnmaskRequest,
)
from fedprivacy.secagg.oneshot.keys import (
    KEY_LABEL,
    SURVIVORS_LABEL,
    session_id,
    signed_key,
    signed_survivors,
)
from fedprivacy.secagg.oneshot.messages import (
    CommitteeEntry,
    CommitteeKey,
    CommitteeRoster,
    InputsClosed,
    KeyShare,
    KeySum,
    SealedInput,
    ShareOpened,
    UnopenedShares,
)
from fedprivacy.secagg.uploads import MaskedChunk
from fedprivacy.wire import encode


def _secagg():
    path = Path(__file__).resolve().parents[1] / "secagg" / "scenarios.py"
    spec = importlib.util.spec_from_file_location("oneshot_scenarios_base", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


secagg = _secagg()
SCENARIOS = secagg.Scenarios()
ok = SCENARIOS.ok
read, replaced, flipped = secagg.read, secagg.replaced, secagg.flipped
CLIENT, MEMBER = "client", "member"
LIAR = "c001"


def bad_for_server(lie, effect, **options):
    """Everyone is recorded: what an honest client has sent the server then stands by its hash."""
    return SCENARIOS.bad(lie, effect, **{"records": None, **options})


def bad_for_member(lie, effect, **options):
    return SCENARIOS.bad(lie, effect, **{"records": {"m00"}, **options})


def bad_for_client(lie, effect, **options):
    return SCENARIOS.bad(lie, effect, **{"records": {LIAR}, **options})


# ------------------------------------------------------------------ honest runs


@ok("Three clients and three members, of whom two open the sum; nobody is lost.")
def ok_all(run):
    run.finish(run.input(run.keys()))


@ok(
    "The clients are the committee. Each has both roles, with keys of their own.",
    joint=True,
)
def ok_clients_are_members(run):
    run.finish(run.input(run.keys()))


@ok("The plan names the members.", named=True)
def ok_named(run):
    run.finish(run.input(run.keys()))


@ok(
    "Two polynomials, so wide a bound that a coefficient holds one value.",
    length=4100,
    bound=1 << 20,
    clients=2,
    members=2,
    inputs={
        "c000": secagg.linear(4100, modulo=2_000_003, minus=1_000_001, multiply=48_271),
        "c001": secagg.linear(4100, modulo=2_000_003, minus=1_000_001, multiply=69_621),
    },
)
def ok_two_polynomials(run):
    run.finish(run.input(run.keys()))


@ok("A client that sends nothing is not in the sum.")
def ok_client_lost(run):
    run.finish(run.input(run.keys(), lost={"c002"}))


@ok("A member that never says its key is in no roster, and gets no share.")
def ok_member_lost_before_keys(run):
    run.finish(run.input(run.keys(lost={"m02"})))


@ok("A member that is lost once clients send: two others open all shares.")
def ok_member_lost_before_input(run):
    told = run.input(run.keys(), silent={"m02"})
    run.finish(told, lost=({"m02"}, (), ()))


@ok("A member that does not sign the survivors.")
def ok_member_lost_before_consistency(run):
    run.finish(run.input(run.keys()), lost=((), {"m01"}, ()))


@ok("A member that signs and does not answer.")
def ok_member_lost_before_unmasking(run):
    run.finish(run.input(run.keys()), lost=((), (), {"m01"}))


@ok("Too few members say a key: the round ends before any client is asked.")
def ok_too_few_members(run):
    run.keys(lost={"m01", "m02"})


@ok("One client sends where the plan asks for two: nothing is opened.")
def ok_too_few_inputs(run):
    run.input(run.keys(), lost={"c001", "c002"})


@ok("Too few sign: nothing is asked for.", members=3, threshold=3)
def ok_too_few_signatures(run):
    run.finish(run.input(run.keys()), lost=((), {"m02"}, ()))


def spoiled_boxes(*members):
    def lie(sent):
        closing = read(SealedInput, sent[-1])
        boxes = [flipped(b) if i in members else b for i, b in enumerate(closing.boxes)]
        return [*sent[:-1], encode(replace(closing, boxes=tuple(boxes)))]

    return lie


@ok("A client whose shares open for nobody is left out; it is not said whose fault that is.")
def ok_client_without_shares(run):
    run.finish(run.input(run.keys(), lies={LIAR: spoiled_boxes(0, 1, 2)}))


@ok(
    "A share that does not open for one member, where one may be corrupt: the member is left out.",
    members=4,
    threshold=3,
    corrupt=1,
)
def ok_complaint_of_one(run):
    run.finish(run.input(run.keys(), lies={LIAR: spoiled_boxes(2)}))


def wrong_sum(sent, by=1):
    share = np.frombuffer(read(KeySum, sent[0]).share, ">u4").astype(np.uint64)
    return [encode(KeySum(((share + np.uint64(by)) % np.uint64(PRIME)).astype(">u4").tobytes()))]


@ok(
    "One of five answers is wrong where three are needed: it is found and left out.",
    members=5,
    threshold=3,
)
def ok_wrong_answer_corrected(run):
    run.finish(run.input(run.keys()), lies={"m03": wrong_sum})


# ------------------------------------------------------------------ lies to a client


def roster_for_client(lie, effect, name, change, **options):
    """A roster that was changed on its way to a client that has a vector."""

    def play(run):
        roster = read(CommitteeRoster, run.keys())
        told = encode(replace(roster, entries=tuple(change(run, list(roster.entries)))))
        run.contribute(LIAR)
        run.receive(CLIENT, LIAR, told)

    play.__name__ = name
    bad_for_client(lie, effect, **options)(play)


def reversed_entries(_, entries):
    return entries[::-1]


def one_entry(_, entries):
    return entries[:1]


def stranger(run, entries):
    other = run.places["c002"]
    return [*entries[:2], replace(entries[2], membership=replace(other, index=2))]


def same_key_twice(run, entries):
    second = entries[1]
    twin = entries[0].seal_key
    signature = run.identities["m01"].key.sign(KEY_LABEL, *signed_key(run.plan, 1, twin))
    return [entries[0], replace(second, seal_key=twin, signature=signature), entries[2]]


def unsigned_key(_, entries):
    return [replace(entries[0], seal_key=KeyPair(b"k" * 32).public), *entries[1:]]


def weak_key(run, entries):
    signature = run.identities["m00"].key.sign(KEY_LABEL, *signed_key(run.plan, 0, bytes(32)))
    return [replace(entries[0], seal_key=bytes(32), signature=signature), *entries[1:]]


roster_for_client(
    "The members in another order.",
    "Two clients hash one committee differently.",
    "bad_roster_order",
    reversed_entries,
)
roster_for_client(
    "A roster with fewer members than it takes to open a sum.",
    "All others are the server's.",
    "bad_roster_small",
    one_entry,
)
roster_for_client(
    "A roster with somebody who is not of the committed committee.",
    "The server puts in whom it likes.",
    "bad_roster_stranger",
    stranger,
)
roster_for_client(
    "Two members with one key.",
    "One of them opens two shares.",
    "bad_roster_key_twice",
    same_key_twice,
)
roster_for_client(
    "A member's key is the server's.",
    "The server opens that member's shares.",
    "bad_roster_key",
    unsigned_key,
)
roster_for_client(
    "A member's key has small order, and the member signed it.",
    "Everyone knows the key of its boxes.",
    "bad_roster_weak_key",
    weak_key,
)


@bad_for_client(
    "A member that is not enrolled.",
    "It is nobody whom an authority knows.",
    unenrolled=("m02",),
)
def bad_roster_not_enrolled(run):
    """The server does not look either: it is the one that lies."""
    entries = []
    for member in run.held_by:
        party = run.parties[MEMBER, member]
        ((_, key),) = [(e.recipient, e.message) for e in party.start()]
        said = read(CommitteeKey, key)
        entries.append(entry_of(run, member, said))
    run.contribute(LIAR)
    run.receive(CLIENT, LIAR, encode(CommitteeRoster(tuple(entries))))


def entry_of(run, member, said):
    return CommitteeEntry(run.seats[member], said.seal_key, said.signature)


@bad_for_client(
    "A committee with the right root, of other members than the plan names.",
    "The names that clients have agreed on stand for nothing.",
    named=True,
)
def bad_roster_not_named(run):
    roster = run.keys()
    committee = run.plan.committee
    others = dataclasses.replace(committee, members=(*committee.members[:2], "m-other"))
    run.plan = dataclasses.replace(run.plan, committee=others)
    run.parties[CLIENT, LIAR] = run.new_client(LIAR)
    run.contribute(LIAR)
    run.receive(CLIENT, LIAR, roster)


@bad_for_client("A second committee after the input has left.", "The vector leaves twice.")
def bad_second_roster(run):
    roster = run.keys()
    run.contribute(LIAR)
    run.receive(CLIENT, LIAR, roster)
    run.receive(CLIENT, LIAR, roster)


@bad_for_client(
    "A second committee before there is a vector.", "The client forgets whom it has checked."
)
def bad_roster_twice(run):
    roster = run.keys()
    run.receive(CLIENT, LIAR, roster)
    run.receive(CLIENT, LIAR, roster)


@bad_for_client("The roster comes from another client.", "Anybody leads the round.")
def bad_sender(run):
    run.receive(CLIENT, LIAR, run.keys(), sender="c002")


@bad_for_client("A roster of more bytes than a committee takes.", "Memory is for the asking.")
def bad_oversized(run):
    run.keys()
    run.receive(CLIENT, LIAR, bytes(7_500))


# ------------------------------------------------------------------ lies to a member


def to_survivors(run, **how):
    """Until each member is to be shown the survivors."""
    return dict(run.hear(run.input(run.keys(), **how)))


@bad_for_member("A second set of survivors after the first.", "The two sums differ by one client.")
def bad_second_set(run):
    told = to_survivors(run)
    run.receive(MEMBER, "m00", told["m00"])
    run.receive(MEMBER, "m00", encode(SurvivorSet((0, 1))))


@bad_for_member(
    "A set below the floor that a client has sealed with its share.",
    "The client's vector is hidden among fewer than it asked for.",
    floors={"c000": 3},
)
def bad_set_below_sealed_floor(run):
    to_survivors(run)
    run.receive(MEMBER, "m00", encode(SurvivorSet((0, 1))))


@bad_for_member(
    "A set below the member's own floor.", "It helps to open a sum of few.", floors={"m00": 3}
)
def bad_set_below_own_floor(run):
    to_survivors(run)
    run.receive(MEMBER, "m00", encode(SurvivorSet((0, 1))))


@bad_for_member(
    "A survivor whose share never came.", "Whoever stands for it is the server.", clients=4
)
def bad_survivor_unknown(run):
    to_survivors(run, lost={"c003"})
    run.receive(MEMBER, "m00", encode(SurvivorSet((0, 1, 2, 3))))


@bad_for_member("Survivors out of order.", "One set has two statements.")
def bad_survivors_order(run):
    to_survivors(run)
    run.receive(MEMBER, "m00", encode(SurvivorSet((1, 0, 2))))


def signatures_over(run, survivors, *members):
    roster = run.roster
    session = session_id(run.plan, roster.entries)
    statement = signed_survivors(session, run.plan.broadcast, survivors)
    return tuple(
        SurvivorSignature(
            run.seats[m].index, run.identities[m].key.sign(SURVIVORS_LABEL, *statement)
        )
        for m in members
    )


def asked(run, survivors, *members):
    """The honest set is shown and signed; then these members' signatures over this set come."""
    roster = run.keys()
    run.roster = read(CommitteeRoster, roster)
    told = dict(run.hear(run.input(roster)))
    run.receive(MEMBER, "m00", told["m00"])
    request = UnmaskRequest(signatures_over(run, survivors, *members))
    run.receive(MEMBER, "m00", encode(request))


@bad_for_member("A request with too few signatures.", "The server shows each member another set.")
def bad_few_signatures(run):
    asked(run, (0, 1, 2), "m00")


@bad_for_member(
    "A request with signatures over another set.",
    "Others have agreed to another sum, and this one is opened as well.",
)
def bad_signatures_of_another_set(run):
    asked(run, (0, 1), "m01", "m02")


@bad_for_member("A signature counts twice.", "One member is a quorum.")
def bad_signature_twice(run):
    roster = run.keys()
    run.roster = read(CommitteeRoster, roster)
    told = dict(run.hear(run.input(roster)))
    run.receive(MEMBER, "m00", told["m00"])
    (one,) = signatures_over(run, (0, 1, 2), "m01")
    run.receive(MEMBER, "m00", encode(UnmaskRequest((one, one))))


@bad_for_member("A second request after the answer.", "A member answers as often as it is asked.")
def bad_second_request(run):
    told = dict(run.hear(list(to_survivors(run).items())))
    run.receive(MEMBER, "m00", told["m00"])
    run.receive(MEMBER, "m00", told["m00"])


def share_for_m00(run):
    """What m00 is sent of c001's input; it is not given to it yet."""
    roster = run.keys()
    run.receive(CLIENT, LIAR, roster)
    sent = [message for _, message in run.contribute(LIAR)]
    shares = [pair for message in sent for pair in run.serve(LIAR, message)]
    return dict(shares)["m00"]


@bad_for_member("One client's share twice.", "It counts as two clients.")
def bad_share_twice(run):
    share = share_for_m00(run)
    run.receive(MEMBER, "m00", share)
    run.receive(MEMBER, "m00", share)


@bad_for_member("A share for a ciphertext that its client did not sign.", "The sum is another's.")
def bad_share_of_another_input(run):
    share = read(KeyShare, share_for_m00(run))
    run.receive(MEMBER, "m00", encode(replace(share, ciphertext=bytes(32))))


@bad_for_member("A share of somebody outside the cohort.", "The server makes up clients.")
def bad_share_of_stranger(run):
    share = read(KeyShare, share_for_m00(run))
    who = replace(share.membership, client_id="c002")
    run.receive(MEMBER, "m00", encode(replace(share, membership=who)))


@bad_for_member("A client that is not enrolled.", "It is the server's.", unenrolled=("c002",))
def bad_share_not_enrolled(run):
    share = read(KeyShare, share_for_m00(run))
    other = replace(share, membership=run.places["c002"])
    run.receive(MEMBER, "m00", encode(other))


@bad_for_member("A share that came is not among those announced.", "Members disagree on the set.")
def bad_shares_withheld(run):
    share = share_for_m00(run)
    run.receive(MEMBER, "m00", share)
    run.receive(MEMBER, "m00", encode(InputsClosed((0,))))


@bad_for_member("A roster without the member.", "It opens shares that nobody seals to it.")
def bad_own_entry_missing(run):
    sent = [m for member in run.held_by for _, m in run.start(member)]
    keys = {m: read(CommitteeKey, key) for m, key in zip(run.held_by, sent, strict=True)}
    entries = tuple(entry_of(run, m, keys[m]) for m in run.held_by[1:])
    run.receive(MEMBER, "m00", encode(CommitteeRoster(entries)))


@bad_for_member("A roster before the member has said its key.", "It is shown a key of another's.")
def bad_early_roster(run):
    run.receive(MEMBER, "m00", encode(CommitteeRoster(())))


# ------------------------------------------------------------------ lies to the server


def input_lie(name, lie, effect, change, **options):
    def play(run):
        run.finish(run.input(run.keys(), lies={LIAR: lambda sent: change(run, sent)}))

    play.__name__ = name
    bad_for_server(lie, effect, **options)(play)


def with_closing(sent, **fields):
    return [*sent[:-1], encode(replace(read(SealedInput, sent[-1]), **fields))]


def cut(_, sent):
    chunk = read(MaskedChunk, sent[0])
    return [encode(MaskedChunk(0, chunk.data[:-1])), *sent[1:]]


def foreign(run, _):
    other = type(run)(run.name + "/other")
    roster = other.keys()
    other.receive(CLIENT, LIAR, roster)
    return [message for _, message in other.contribute(LIAR)]


input_lie(
    "bad_foreign_input",
    "An input of another session.",
    "A vector counts in a round that its client never agreed to.",
    foreign,
)
input_lie("bad_chunk_size", "A chunk one byte short.", "Coefficients shift.", cut)
input_lie(
    "bad_chunk_missing",
    "An input without its ciphertext.",
    "A key is in the sum and its message is not.",
    lambda _, sent: sent[1:],
)
input_lie(
    "bad_chunk_order",
    "A chunk twice.",
    "A ciphertext is longer than a vector.",
    lambda _, sent: [sent[0], *sent],
)
input_lie(
    "bad_digest",
    "Another ciphertext than the one that is signed.",
    "The key does not open it.",
    lambda _, sent: [flipped(sent[0], len(sent[0]) - 1), *sent[1:]],
)
input_lie(
    "bad_boxes_missing",
    "No boxes.",
    "Nobody can open the sum.",
    lambda _, sent: with_closing(sent, boxes=()),
)
input_lie(
    "bad_input_weak_key",
    "An agreement key of small order.",
    "Everyone knows the key of its boxes.",
    lambda _, sent: with_closing(sent, agreement_key=bytes(32)),
)
input_lie(
    "bad_input_signature",
    "An input that its client did not sign.",
    "Members refuse its share, and everyone waits.",
    lambda _, sent: with_closing(sent, signature=bytes(64)),
)
input_lie(
    "bad_second_input",
    "The input twice.",
    "It counts twice.",
    lambda _, sent: [*sent, *sent],
)


@bad_for_server("A message of somebody who is neither.", "Anybody takes part.")
def bad_stranger(run):
    roster = run.keys()
    run.serve("nobody", encode(ShareOpened(0)))
    run.finish(run.input(roster))


@bad_for_server("An input after the deadline.", "The survivors change once they are fixed.")
def bad_late(run):
    roster = run.keys()
    run.receive(CLIENT, LIAR, roster)
    late = [message for _, message in run.contribute(LIAR)]
    told = run.input(roster, lost={LIAR})
    run.serve(LIAR, late[0])
    run.finish(told)


@bad_for_server("A member's key that it did not sign.", "Its boxes open for another.")
def bad_member_key(run):
    for member in run.held_by:
        (_, sent), *_ = run.start(member)
        key = read(CommitteeKey, sent)
        bad = encode(replace(key, seal_key=KeyPair(b"z" * 32).public))
        run.serve(member, bad if member == "m01" else sent)
    go_on_without(run, "m01")


def go_on_without(run, member):
    told = run.advance()
    for name, message in told[:2]:
        run.receive(MEMBER, name, message)
    run.finish(run.input(told[0][1], silent={member}))


def after_input(run, member, message):
    """One member says this in the phase opening; the others say what is true."""
    told = run.input(run.keys())
    lies = {member: lambda _: [message]}
    return run.hear(told, lies=lies)


@bad_for_server("A member takes back that a share opened.", "A client is left out at will.")
def bad_complaint_taken_back(run):
    told = after_input(run, "m01", encode(UnopenedShares((0,))))
    run.hear(run.hear(told))


@bad_for_server("A complaint about somebody who sent nothing.", "The server names a client nobody.")
def bad_complaint_of_nobody(run):
    told = after_input(run, "m01", encode(UnopenedShares((9,))))
    run.hear(run.hear(told))


@bad_for_server("A share is said to open that was never sent.", "A count that nobody can check.")
def bad_opened_unsent(run):
    roster = run.keys()
    run.serve("m01", encode(ShareOpened(2)))
    run.finish(run.input(roster, silent={"m01"}))


@bad_for_server(
    "Two of five answers are wrong where three are needed: that is noticed, and nobody is blamed.",
    "A sum of noise is taken for one of vectors.",
    members=5,
    threshold=3,
)
def bad_two_wrong_answers(run):
    def other(sent):
        return wrong_sum(wrong_sum(sent))

    run.finish(run.input(run.keys()), lies={"m01": wrong_sum, "m03": other})


@bad_for_server(
    "All members answer with another key: a sharing of it, whose noise gives it away.",
    "A sum of noise is taken for one of vectors.",
)
def bad_another_key(run):
    run.finish(run.input(run.keys()), lies=dict.fromkeys(run.held_by, wrong_sum))


@bad_for_server(
    "All members answer with what is no sum of keys.", "A sum of noise is taken for one of vectors."
)
def bad_no_key(run):
    def lie(sent):
        return wrong_sum(sent, 1 << 30)

    run.finish(run.input(run.keys()), lies=dict.fromkeys(run.held_by, lie))


@bad_for_server("An answer with a word that is no field element.", "The sum is another.")
def bad_answer_outside_field(run):
    def lie(sent):
        share = read(KeySum, sent[0]).share
        return [encode(KeySum(b"\xff" * 4 + share[4:]))]

    run.finish(run.input(run.keys()), lies={"m01": lie})


@bad_for_server("A signature over another set.", "A member has agreed to another sum.")
def bad_survivor_signature(run):
    told = run.hear(run.input(run.keys()))
    lie = {"m01": lambda _: [encode(ConsistencySignature(bytes(64)))]}
    run.hear(run.hear(told, lies=lie))


@bad_for_server("A byte too many.", "One message has two encodings.")
def bad_trailing_byte(run):
    for member in run.held_by:
        (_, sent), *_ = run.start(member)
        run.serve(member, sent + b"\0" if member == "m01" else sent)
    go_on_without(run, "m01")


@bad_for_server(
    "All shares open for nobody where members are honest: too few inputs are left.",
    "A sum of one client.",
)
def bad_all_boxes(run):
    lies = {c: spoiled_boxes(0, 1, 2) for c in ("c001", "c002")}
    run.finish(run.input(run.keys(), lies=lies))
