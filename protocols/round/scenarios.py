"""The scripts behind the vectors: honest rounds, and rounds with one lie each.

A scenario takes its name and the recorder, plays rounds, and returns the record. `ok` says what a
run shows; `bad` says what the lie is and what it would win if it were believed.
"""

import contextlib
import math
import struct

import msgspec
import numpy as np

from fedprivacy.arithmetic import to_residues
from fedprivacy.crypto import Checksum, SigningKey
from fedprivacy.errors import ConfigurationError
from fedprivacy.secagg import PROTOCOLS, SERVER, Cohort
from fedprivacy.secagg.masking.messages import Roster
from fedprivacy.secagg.plain import PlainInput
from fedprivacy.secagg.uploads import MaskedChunk, PackedUpload
from fedprivacy.wire import digest, encode

SCENARIOS = {}
VICTIM, OTHER, LAST = "c000", "c001", "c002"
CURIOUS = {"aggregation": {"protocol": "secagg"}}
ZERO = bytes(32)
OTHER_RUN = b"another-16-bytes"


def _register(note, options, play, name=None):
    name = name or play.__name__

    def scenario(name, make):
        run = make(name, **options)
        try:
            play(run)
        finally:
            run.close()
        return run, note

    if name in SCENARIOS:
        raise KeyError(name)
    SCENARIOS[name] = scenario
    return play


def ok(shows, **options):
    return lambda play: _register({"shows": shows}, options, play)


def bad(lie, effect, **options):
    """A lie to the victim; only what the victim sees and says is recorded."""
    options = {"records": {VICTIM}, **options}
    return lambda play: _register({"lie": lie, "effect": effect}, options, play)


def bad_for_server(lie, effect, **options):
    options = {"records": {SERVER}, **options}
    return lambda play: _register({"lie": lie, "effect": effect}, options, play)


def tell(name, lie, effect, *, change=None, plan=None, **options):
    """A negative of one invitation: the honest one with other fields of its plan.

    `plan` changes the plan inside; what follows from it (threshold, degree, modulus) follows,
    unless `change`, the round plan's own fields, says otherwise.
    """

    def play(run):
        attempt = run.attempt()
        changes = dict(change or {})
        if plan:
            changes = following(attempt.plan, run.plan(plan)) | changes
        run.receive(attempt, VICTIM, attempt.invitation(VICTIM, changes=changes))

    options = {"records": {VICTIM}, **options}
    _register({"lie": lie, "effect": effect}, options, play, name)


def following(round_plan, plan):
    changed, told = msgspec.structs.replace(round_plan, plan=plan), {"plan": plan}
    with contextlib.suppress(ConfigurationError):  # where nothing follows
        told["modulus_bits"] = changed.pipeline.modulus_bits(changed.cohort_size)
    if plan.aggregation.protocol in PROTOCOLS:
        quorum = plan.quorum(changed.cohort_size)
        told |= {"threshold": quorum.threshold, "degree": quorum.degree}
    return told


def reencoded(name, lie, effect, edit, **options):
    """A negative of one invitation, its bytes edited."""

    def play(run):
        attempt = run.attempt()
        honest = attempt.invitation(VICTIM)
        told = edit(honest)
        if told == honest:
            raise ValueError(name)
        run.receive(attempt, VICTIM, told)

    options = {"records": {VICTIM}, **options}
    _register({"lie": lie, "effect": effect}, options, play, name)


# ------------------------------------------------------------------ honest rounds


@ok("Three clients, nobody drops out, no directory: the decoded sum of all three.")
def ok_plain(run):
    run.play(run.attempt())


@ok(
    "Honest but curious, masked: no directory, no signatures; one client is lost with its input.",
    plan=CURIOUS,
)
def ok_masked_curious(run):
    run.play(run.attempt(), drop={"input": {LAST}})


@ok(
    "Masked, with identities: each client checks the directory that its pinned authority signed.",
    signed=True,
)
def ok_masked_signed(run):
    run.play(run.attempt())


@ok(
    "A second attempt over the same cohort: at the first too few inputs came. Everybody marks "
    "itself spent in both; one is not asked again.",
)
def ok_second_attempt(run):
    run.play(run.attempt(), drop={"input": {OTHER, LAST}})
    run.play(run.attempt(attempt=2), [VICTIM, OTHER])


@ok("A client that was not asked at the first attempt takes part in the second.")
def ok_first_asked_at_the_second(run):
    run.play(run.attempt(), [VICTIM])
    run.play(run.attempt(attempt=2))


@ok(
    "A client whose policy asks for more than the plan offers says so and is out; another is lost. "
    "The second attempt does without the first of them.",
    policies={LAST: {"aggregation": {"min_clients": 3}}},
)
def ok_refused_then_retried(run):
    run.play(run.attempt(), drop={"input": {OTHER}})
    run.play(run.attempt(attempt=2), [VICTIM, OTHER])


@ok(
    "A policy that asks of every key exactly what the plan offers.",
    plan={
        "dataset": {"adjacency": "replace-one"},
        "aggregation": {"protocol": "secagg", "min_clients": 3, "corrupt": 1, "threshold": 3},
        "update": {"value_bits": 4, "max_units_per_client": 5},
    },
    policy={
        "dataset": {"id": "ones", "unit": "client", "adjacency": "replace-one"},
        "aggregation": {"protocol": ["secagg"], "min_clients": 3, "corrupt": 1, "threshold": 3},
        "update": {
            "clip": 3.0,
            "value_bits": 4,
            "max_units_per_client": 5,
            "least_units_per_client": 5,
        },
    },
    signed=True,
    records={VICTIM},
)
def ok_policy_at_its_floor(run):
    run.play(run.attempt(), until="shares")


@ok(
    "A plan that is ready to lose one of three, and does: as many are left as its threshold and "
    "its least number of clients ask for.",
    plan={"aggregation": {"dropout": 1 / 3}},
)
def ok_dropout(run):
    run.play(run.attempt(), drop={"input": {LAST}})


@ok(
    "The client is the unit, and weighs itself: vectors are clipped, weighted and then rounded, "
    "and the weight is the last coordinate.",
    plan={"update": {"clip": 1.5, "value_bits": 12, "max_units_per_client": 40}},
    updates={
        "c000": ([0.25, -0.5, 0.125, 0.1], 40),
        "c001": ([0.0, 1.0, -0.3, 0.7], 1),
        "c002": ([6.0, 0.0, 0.0, 0.0], 7),  # too long
    },
)
def ok_client_unit(run):
    run.play(run.attempt())


@ok(
    "The client is the unit, each counts one: no weight is sent.",
    plan={"update": {"clip": 1.0, "value_bits": 8, "weights": "uniform"}},
    updates={
        "c000": ([0.25, -0.5, 0.125, 0.1], 1),
        "c001": ([0.0, 0.5, -0.3, 0.7], 1),
        "c002": ([-0.6, 0.0, 0.0, 0.01], 1),
    },
)
def ok_client_unit_uniform(run):
    run.play(run.attempt())


PATIENTS = {
    "c000": ([[0.25, -0.5, 0.125, 0.1], [0.5, 0.5, -0.5, 0.25], [0.0, 0.0, 0.0, 9.0]], 1),
    "c001": ([[0.1, 0.2, 0.3, -0.4]], 1),
    "c002": ([[0.7, 0.0, 0.0, -0.7], [-0.9, 0.1, 0.2, 0.3]], 1),
}


@ok(
    "A patient is the unit: each patient's vector is clipped and rounded on its own, and the "
    "number of patients is the last coordinate.",
    plan={
        "dataset": {"unit": "patient"},
        "update": {"clip": 1.25, "value_bits": 10, "max_units_per_client": 3},
    },
    updates=PATIENTS,
)
def ok_patient_unit(run):
    run.play(run.attempt())


@ok(
    "A patient is the unit and each client counts one.",
    plan={
        "dataset": {"unit": "patient"},
        "update": {
            "clip": 1.25,
            "value_bits": 10,
            "max_units_per_client": 3,
            "weights": "uniform",
        },
    },
    updates=PATIENTS,
)
def ok_patient_unit_uniform(run):
    run.play(run.attempt())


LONG = 1 << 16


@ok(
    "As many parameters as a chunk has values: the weight is the second chunk.",
    n=2,
    length=LONG,
    updates={
        "c000": ([1.0, -1.0] + [0.0] * (LONG - 3) + [1.0], 1),
        "c001": ([0.0, -1.0] + [0.0] * (LONG - 3) + [1.0], 1),
    },
    records={SERVER},
)
def ok_two_chunks(run):
    run.play(run.attempt())


@ok(
    "Two rounds under one broadcast, over sets that differ in as many names as the floor: both are "
    "answered. A third, in another run, over the first set again.",
    n=4,
    plan={"aggregation": {"protocol": "secagg", "threshold": 2}},
    records={VICTIM},
)
def ok_survivors_apart(run):
    run.play(run.attempt(1))
    run.play(run.attempt(2), drop={"input": {LAST, "c003"}})
    run.play(run.attempt(1, run_id=OTHER_RUN))


@ok(
    "The directory of an epoch again, then one of a later epoch.",
    signed=True,
    records={VICTIM},
)
def ok_later_directory(run):
    for number, epoch in ((1, 2), (2, 2), (3, 7)):
        attempt = run.attempt(number, directory=run.sign_directory(epoch))
        run.receive(attempt, VICTIM, attempt.invitation(VICTIM))


@ok(
    "A client that could not read its invitation names no attempt in its refusal, and is out; one "
    "with a code that nobody registered counts as FAILED; one after the end counts for nothing.",
    records={SERVER},
    plan={"aggregation": {"threshold": 2}},
    n=4,
)
def ok_refusals(run):
    attempt = run.attempt()
    told = dict(run.invite(attempt))
    run.receive(attempt, SERVER, attempt.refusal(1, ZERO), LAST)
    run.receive(attempt, SERVER, attempt.refusal(255), "c003")
    run.receive(attempt, SERVER, attempt.refusal(24), "c003")
    for name in (VICTIM, OTHER):
        run.answer(attempt, name, told[name])
    run.advance(attempt)
    run.receive(attempt, SERVER, attempt.refusal(24), VICTIM)


@ok("The store's rules, one by one, where nothing is refused.", records={VICTIM})
def ok_store(run):
    at = {"run_id": OTHER_RUN, "round": 3}
    run.store(VICTIM, "directory", epoch=4, digest=ZERO)
    run.store(VICTIM, "directory", epoch=4, digest=ZERO)
    run.store(VICTIM, "begin", **at, attempt=2, terms=b"t" * 32)
    run.store(VICTIM, "begin", **at, attempt=5, terms=b"t" * 32)
    run.store(VICTIM, "spent", **at, attempt=5)
    run.store(VICTIM, "answered", **at, broadcast=ZERO, survivors=["a", "b", "c"], floor=2)
    at["round"] = 9
    run.store(VICTIM, "begin", **at, attempt=1, terms=b"u" * 32)
    # Another broadcast: not compared. The same set under the same one: nothing to subtract.
    run.store(VICTIM, "answered", **at, broadcast=b"b" * 32, survivors=["a", "b"], floor=2)
    at["round"] = 10
    run.store(VICTIM, "answered", **at, broadcast=ZERO, survivors=["c", "b", "a"], floor=2)


# ------------------------------------------------------------------ lies about the sender


@bad(
    "Another client sends the invitation.",
    "Whoever reaches a client's channel starts rounds of its own.",
)
def bad_invited_by_client(run):
    attempt = run.attempt()
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM), OTHER)


@bad(
    "Another client sends what the server sends in an envelope.",
    "Whoever reaches a client's channel plays the server.",
    signed=True,
)
def bad_envelope_by_client(run):
    attempt = run.attempt()
    told = run.play(attempt, until="shares")
    run.receive(attempt, VICTIM, told[VICTIM], OTHER)


@bad(
    "Another client sends what is no message.",
    "None: this shows that the sender is checked before the bytes.",
)
def bad_noise_by_client(run):
    attempt = run.attempt()
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM))
    run.receive(attempt, VICTIM, b"\xff", OTHER)


@bad(
    "The server goes on with a client that has refused: with the invitation as it should have "
    "been.",
    "A client that has left is talked back in.",
)
def bad_after_a_refusal(run):
    attempt = run.attempt()
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM, broadcast=b"another model"))
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM))


@bad(
    "The protocol has nothing to say to a client, and the server says something.",
    "None here: what is not due is not taken.",
)
def bad_plain_message(run):
    attempt = run.attempt()
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM))
    run.receive(attempt, VICTIM, attempt.envelope(encode(Roster(()))))


# ------------------------------------------------------------------ lies about the encoding

CLIP = b"\xcb" + struct.pack(">d", 3.0)
TRUST, RATE = b"\xa5trust\xa4none", b"\xa4rate\xcb" + struct.pack(">d", 1.0)
NOISE = (
    b"\xa5noise\x86"
    + TRUST
    + b"\xa9mechanism\xa7skellam"
    + b"".join(name + b"\xcb" + bytes(8) for name in (b"\xb0noise_multiplier", b"\xa7epsilon"))
    + b"\xa5delta\xcb"
    + bytes(8)
    + b"\xa6rounds\x00"
)
SAMPLING = b"\xa8sampling\x82\xa6scheme\xa3all" + RATE


def swap(old, new):
    def edit(message):
        if message.count(old) < 1:
            raise ValueError(old)
        return message.replace(old, new, 1)

    return edit


ONE_READING = "Two encodings of one plan: what is hashed and what is read may differ."
reencoded(
    "bad_trailing_byte",
    "One byte follows the invitation.",
    "Bytes that nobody reads.",
    lambda message: message + b"\x00",
)
reencoded(
    "bad_truncated",
    "The invitation's last byte is missing.",
    "None here.",
    lambda message: message[:-1],
)
reencoded(
    "bad_plan_key_order",
    "The plan's [sampling] and [noise] stand in each other's place.",
    ONE_READING,
    swap(NOISE + SAMPLING, SAMPLING + NOISE),
)
reencoded(
    "bad_plan_key_twice",
    "The plan's [noise] names trust twice.",
    ONE_READING,
    swap(b"\x86" + TRUST, b"\x87" + TRUST + TRUST),
)
reencoded(
    "bad_plan_default_left_out",
    "The plan's [noise] leaves out a key that has a default.",
    ONE_READING,
    swap(b"\x86" + TRUST, b"\x85"),
)
reencoded(
    "bad_plan_key_left_out",
    "The plan's [dataset] leaves out a key without a default.",
    "A plan that says less than it must.",
    swap(b"\x84\xa2id\xa4ones", b"\x83"),
)
reencoded(
    "bad_plan_unknown_key",
    "The plan's [noise] has a key that no plan has.",
    "A rule that some clients read and others do not.",
    swap(b"\x86" + TRUST, b"\x87" + TRUST + b"\xa5noisy\x01"),
)
reencoded(
    "bad_plan_unknown_value",
    "The plan's noise is of a kind that is not registered.",
    "A rule that some clients read and others do not.",
    swap(b"\xa5trust\xa4none", b"\xa5trust\xa4full"),
)
reencoded(
    "bad_plan_as_array",
    "The plan's [sampling] is an array of its values.",
    ONE_READING,
    swap(SAMPLING[9:], b"\x92\xa3all" + RATE[5:]),
)
reencoded(
    "bad_plan_empty_name",
    "The plan's data set has no name.",
    "A plan that names nothing.",
    swap(b"\xa2id\xa4ones", b"\xa2id\xa0"),
)
reencoded(
    "bad_real_as_integer",
    "The plan's clip is written as the integer 3.",
    ONE_READING,
    swap(b"\xa4clip" + CLIP, b"\xa4clip\x03"),
)
reencoded(
    "bad_real_of_32_bits",
    "The plan's clip is written as a float 32.",
    ONE_READING,
    swap(b"\xa4clip" + CLIP, b"\xa4clip\xca" + struct.pack(">f", 3.0)),
)
LONG_NAME = b"\xd9\x41" + b"x" * 65
reencoded(
    "bad_plan_long_protocol",
    "The protocol's name has 65 letters.",
    "A client's memory.",
    swap(b"\xa8protocol\xa5plain", b"\xa8protocol" + LONG_NAME),
)
reencoded(
    "bad_plan_long_suite",
    "The suite's name has 65 letters.",
    "A client's memory.",
    swap(
        b"\xa5suite\xd9\x2ex25519-ed25519-hkdf-sha256-aes256gcm-aes256ctr", b"\xa5suite" + LONG_NAME
    ),
)
reencoded(
    "bad_plan_dropout",
    "The plan is ready to lose everybody.",
    "Sums of nobody.",
    swap(b"\xa7dropout\xcb" + bytes(8), b"\xa7dropout\xcb" + struct.pack(">d", 1.0)),
)
reencoded(
    "bad_plan_clip_zero",
    "The plan clips at zero.",
    "A scale that divides by zero.",
    swap(b"\xa4clip" + CLIP, b"\xa4clip\xcb" + bytes(8)),
)


@bad("An envelope where an invitation is due.", "A client works without a plan.")
def bad_envelope_first(run):
    attempt = run.attempt()
    run.receive(attempt, VICTIM, attempt.envelope(b"body"))


@bad(
    "The invitation once more, where an envelope is due.",
    "A client begins a second attempt inside the first.",
)
def bad_invited_twice(run):
    attempt = run.attempt()
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM))
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM))


@bad(
    "The envelope of a message that was sent in another attempt, then the one that is due.",
    "What was said in one attempt is heard in another. A late message costs nobody anything: the "
    "client says nothing, and goes on.",
    signed=True,
)
def bad_wrong_round(run):
    late = run.play(run.attempt(1), until="shares")
    second = run.attempt(2)
    told = run.play(second, until="shares")
    run.receive(second, VICTIM, late[VICTIM])
    run.receive(second, VICTIM, told[VICTIM])


# ------------------------------------------------------------------ lies in the plan

tell(
    "bad_version",
    "A round plan of a version that this client does not speak.",
    "Rules that the client does not know.",
    change={"version": 2},
)
tell(
    "bad_protocol",
    "A protocol that this client does not speak.",
    "Rules that the client does not know.",
    plan={"aggregation": {"protocol": "telepathy"}},
)
tell(
    "bad_suite",
    "A suite that this client does not speak.",
    "Primitives that the client does not have.",
    plan={"aggregation": {"suite": "rot13"}},
)
tell(
    "bad_adversary",
    "The plan promises more than its protocol withstands.",
    "A promise that nothing keeps.",
    plan={"aggregation": {"adversary": "malicious"}},
)
tell(
    "bad_adversary_semi_malicious",
    "Masked aggregation for a setting that it does not have.",
    "A promise that nothing keeps.",
    plan={"aggregation": {"protocol": "secagg", "adversary": "semi-malicious"}},
)
tell(
    "bad_min_clients",
    "A plan that releases sums of one client.",
    "The sum is the client's own vector.",
    plan={"aggregation": {"min_clients": 1}},
)
tell(
    "bad_plan_clip_infinite",
    "The plan clips at infinity.",
    "No bound at all.",
    plan={"update": {"clip": math.inf}},
    change={"clip": 3.0, "modulus_bits": 5},
)
tell(
    "bad_clip",
    "The attempt clips at twice the plan's norm.",
    "More of one client shows than the plan allows.",
    change={"clip": 6.0},
)
tell(
    "bad_clip_zero",
    "The attempt clips at zero.",
    "A scale that divides by zero.",
    change={"clip": 0.0},
)
tell(
    "bad_clip_nan",
    "The attempt clips at what is no number.",
    "A comparison that is false either way.",
    change={"clip": math.nan},
)
tell(
    "bad_clip_tiny",
    "The attempt clips at a norm whose square is no normal number.",
    "A scale that is not finite.",
    change={"clip": 1e-101},
)
tell(
    "bad_length",
    "More parameters than any vector has.",
    "A client runs out of memory.",
    change={"length": (1 << 32) + 1},
)
tell(
    "bad_committee",
    "The plan commits to a committee, which its protocol has not.",
    "Trust is put into nobody.",
    change={"committee_root": b"c" * 32},
)
tell(
    "bad_committee_of_no_use",
    "Masked aggregation with a committee in its plan.",
    "A client believes that it takes others to open a sum.",
    plan={"aggregation": {"protocol": "secagg", "committee": {"size": 4}}},
)
ONE_SHOT = {"protocol": "oneshot", "adversary": "malicious", "min_clients": 3, "corrupt": 1}


def open_with(name, lie, effect, committee, **rules):
    """A negative of one-shot aggregation's committee."""
    rules = ONE_SHOT | {"committee": {"size": 4, "corrupt": 1} | committee} | rules
    tell(name, lie, effect, plan={"aggregation": rules}, change={"committee_root": b"c" * 32})


open_with(
    "bad_committee_missing",
    "One-shot aggregation of which nobody opens the sums.",
    "The server does.",
    {"size": 0, "corrupt": 0},
)
open_with(
    "bad_committee_size",
    "A committee of two names and four members.",
    "Half of them are nobody.",
    {"members": ["c000", "c001"]},
)
open_with(
    "bad_committee_twice",
    "A committee that names somebody twice.",
    "One member answers as two.",
    {"size": 0, "members": ["c000", "c001", "c002", "c001"]},
)
open_with(
    "bad_committee_threshold_of_clients",
    "A threshold of clients, of whom none opens anything.",
    "A client believes that it takes them.",
    {},
    threshold=3,
)
open_with(
    "bad_committee_threshold",
    "Two of four members open a sum, and one may be corrupt.",
    "Two sets of clients are opened, and their difference is one of them.",
    {"threshold": 2},
)
open_with(
    "bad_committee_all_corrupt",
    "Four of four members may be corrupt.",
    "They open every client's update.",
    {"corrupt": 4},
)
open_with(
    "bad_committee_draws_the_corrupt",
    "A server that draws the committee, and a committee without anyone who is corrupt.",
    "It draws the one that is in league with it.",
    {"corrupt": 0},
)
open_with(
    "bad_committee_of_more_than_all",
    "Five members drawn from four clients.",
    "One of them is nobody.",
    {"size": 5},
)
open_with(
    "bad_committee_one_honest",
    "Sums of two, of whom one may be corrupt.",
    "It subtracts its own vector and sees the other.",
    {},
    min_clients=2,
)
tell(
    "bad_committee_root",
    "A plan with a committee, and no commitment to it.",
    "The server shows each client another one.",
    plan={"aggregation": ONE_SHOT | {"committee": {"size": 4, "corrupt": 1}}},
)
tell(
    "bad_ledger",
    "The plan names the head of a ledger, where no noise is added and nothing is charged.",
    "A client believes in a record of nothing.",
    change={"ledger_head": b"l" * 32},
)
tell(
    "bad_attempt",
    "A third attempt where the plan allows two.",
    "Attempts until a set is found that gives one client away.",
    change={"attempt": 3},
)
tell(
    "bad_threshold_alone",
    "A threshold that the corrupt alone reach.",
    "They unmask everyone.",
    plan={"aggregation": {"protocol": "secagg", "corrupt": 1, "min_clients": 3}},
    change={"threshold": 1},
)
tell(
    "bad_one_honest",
    "Sums of two, of whom one may be corrupt.",
    "It subtracts its own vector and sees the other.",
    plan={"aggregation": {"protocol": "secagg", "corrupt": 1, "threshold": 2}},
)
tell(
    "bad_threshold_beyond",
    "A threshold above the cohort's size.",
    "A promise that only an attempt without a result keeps.",
    plan={"aggregation": {"threshold": 4}},
)
tell(
    "bad_min_clients_beyond",
    "More survivors are promised than the cohort has members.",
    "A promise that only an attempt without a result keeps.",
    plan={"aggregation": {"min_clients": 4}},
)
tell(
    "bad_two_sets",
    "2t = n + c, with a server that may lie.",
    "Two survivor sets are both unmasked, and their difference is one client.",
    plan={"aggregation": {"corrupt": 1, "threshold": 2, "min_clients": 3}},
    signed=True,
)
tell(
    "bad_threshold",
    "Another threshold than the plan leads to, for which the quorum holds.",
    "A guarantee that was derived from more.",
    change={"threshold": 3},
)
tell(
    "bad_dropout",
    "A plan that may lose two of three, and needs two.",
    "A promise that only an attempt without a result keeps.",
    plan={"aggregation": {"dropout": 0.5}},
)
tell(
    "bad_degree_of_the_plan",
    "A plan with a degree, for a protocol on the complete graph.",
    "A guarantee for a graph that is not there.",
    plan={"aggregation": {"protocol": "secagg", "degree": 2}},
)
tell(
    "bad_degree",
    "An attempt with a degree, on the complete graph.",
    "Fewer neighbours than the guarantee was derived from.",
    change={"degree": 2},
)
tell(
    "bad_modulus_low",
    "A modulus of fewer bits than the bounds imply.",
    "Sums wrap and say something else.",
    change={"modulus_bits": 4},
)
tell(
    "bad_modulus_high",
    "A modulus of more bits than the bounds imply.",
    "Room in which a client's vector is told from the others'.",
    change={"modulus_bits": 6},
)


@bad(
    "Bounds so wide that no modulus of 62 bits holds a sum.",
    "Sums wrap and say something else.",
)
def bad_bounds(run):
    attempt = run.attempt()
    wide = {"value_bits": 32, "max_units_per_client": (1 << 31) - 1}
    plan = run.plan({"dataset": {"unit": "patient"}, "update": wide})
    changes = {"plan": plan, "modulus_bits": 62}
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM, changes=changes))


# ------------------------------------------------------------------ below a client's policy


def below(name, lie, effect, policy, **options):
    """A negative of an honest invitation to a client that asks for more."""
    tell(name, lie, effect, policy=policy, **options)


ASKED = "The client takes part in what it does not want."
below("bad_policy_id", "Another data set.", ASKED, {"dataset": {"id": "twos"}})
below("bad_policy_unit", "Another unit.", ASKED, {"dataset": {"unit": "patient"}})
below(
    "bad_policy_adjacency", "Another adjacency.", ASKED, {"dataset": {"adjacency": "replace-one"}}
)
below(
    "bad_policy_protocol",
    "No protection, where the client asks for masks.",
    "The server reads the client's vector.",
    {"aggregation": {"protocol": ["secagg"]}},
)
below(
    "bad_policy_suite",
    "A suite that the client does not allow.",
    "A suite that was broken stays in use.",
    {"aggregation": {"suite": ["a-later-suite"]}},
)
below(
    "bad_policy_adversary",
    "The setting without signatures.",
    "The server puts its own keys in everyone's place.",
    {"aggregation": {"adversary": "malicious"}},
    plan=CURIOUS,
)
below(
    "bad_policy_min_clients",
    "Sums over fewer clients than the client's floor.",
    ASKED,
    {"aggregation": {"min_clients": 3}},
)
below(
    "bad_policy_corrupt",
    "Fewer corrupt clients are withstood than the client asks for.",
    ASKED,
    {"aggregation": {"corrupt": 1}},
)
below(
    "bad_policy_threshold",
    "A lower threshold than the client asks for.",
    ASKED,
    {"aggregation": {"threshold": 3}},
)
below("bad_policy_clip", "A larger norm than the client allows.", ASKED, {"update": {"clip": 2.5}})
below(
    "bad_policy_value_bits",
    "Finer values than the client allows.",
    ASKED,
    {"update": {"value_bits": 2}},
)
below(
    "bad_policy_units",
    "More units than the client allows.",
    ASKED,
    {"update": {"max_units_per_client": 4}},
    plan={"update": {"max_units_per_client": 5}},
)
below(
    "bad_policy_least_units",
    "Fewer units than the client may hold.",
    "The client's silence says that it holds more.",
    {"update": {"least_units_per_client": 6}},
    plan={"update": {"max_units_per_client": 5}},
)

# ------------------------------------------------------------------ lies about the cohort


@bad(
    "The invitation has another member's place.",
    "One client speaks under the name of another.",
)
def bad_place_of_another(run):
    attempt = run.attempt()
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM, place=attempt.places[OTHER]))


@bad(
    "The client's place is proven against another root.",
    "The server picks the members after it has seen who answers.",
)
def bad_place_elsewhere(run):
    attempt = run.attempt()
    foreign = Cohort.of(run.names, rng=run.rng).memberships()[0]
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM, place=foreign))


@bad(
    "The client's proof, at another index.",
    "Two clients are told one place, and count as two.",
)
def bad_place_index(run):
    attempt = run.attempt()
    place = msgspec.structs.replace(attempt.places[VICTIM], index=1)
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM, place=place))


@bad(
    "The cohort is told to be so much larger than it is that proofs of three cannot hold.",
    "Room for more, who are chosen later.",
)
def bad_cohort_size(run):
    attempt = run.attempt()
    changed = msgspec.structs.replace(attempt.plan, cohort_size=5)
    changes = {"cohort_size": 5} | following(changed, run.plan())
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM, changes=changes))


# ------------------------------------------------------------------ lies about the directory


def told_directory(run, directory, *, named=None, **changes):
    """An invitation that names, and brings, this directory."""
    attempt = run.attempt(directory=named or directory)
    data = directory if isinstance(directory, bytes) else encode(directory)
    message = attempt.invitation(VICTIM, directory=data, changes=changes)
    run.receive(attempt, VICTIM, message)


@bad(
    "A directory where identities play no part.",
    "Bytes that nobody checks; a client that believes that somebody vouches for the others.",
)
def bad_directory_unasked(run):
    attempt = run.attempt()
    data = encode(run.sign_directory())
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM, directory=data))


@bad(
    "The plan names a directory where identities play no part.",
    "Clients believe that somebody vouches for others.",
)
def bad_directory_named_unasked(run):
    attempt = run.attempt()
    message = attempt.invitation(VICTIM, changes={"directory": b"d" * 32})
    run.receive(attempt, VICTIM, message)


@bad(
    "The plan has a directory's epoch where identities play no part.",
    "Clients believe that somebody vouches for others.",
)
def bad_directory_epoch_unasked(run):
    attempt = run.attempt()
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM, changes={"directory_epoch": 1}))


@bad("The invitation brings no directory.", "Clients go on without identities.", signed=True)
def bad_directory_missing(run):
    told_directory(run, b"", named=run.sign_directory())


@bad(
    "The directory's entries are out of order.",
    "Two directories of one content; a search that misses what is there.",
    signed=True,
)
def bad_directory_order(run):
    first, second = (
        b"\x92\xa4" + c.encode() + b"\xc4\x20" + run.identities[c].key.public
        for c in (VICTIM, OTHER)
    )
    data = encode(run.sign_directory())
    told_directory(run, data.replace(first + second, second + first), named=run.sign_directory())


@bad(
    "An identity key of small order in the directory.",
    "A key for which anybody can sign.",
    signed=True,
)
def bad_directory_weak_key(run):
    honest = run.sign_directory()
    data = encode(honest).replace(run.identities[OTHER].key.public, bytes(32))
    told_directory(run, data, named=honest)


@bad("Two names have one identity key.", "One party counts as two.", signed=True)
def bad_directory_one_key(run):
    honest = run.sign_directory()
    data = encode(honest).replace(run.identities[OTHER].key.public, run.identities[LAST].key.public)
    told_directory(run, data, named=honest)


@bad(
    "The directory's epoch takes two bytes where one is enough.",
    "Two hashes of one directory.",
    signed=True,
)
def bad_directory_noncanonical(run):
    honest = run.sign_directory()
    data = encode(honest).replace(b"\xa9directory\x01", b"\xa9directory\xcc\x01")
    told_directory(run, data, named=honest)


@bad(
    "More bytes than a directory of the most entries takes.",
    "A client's memory.",
    signed=True,
)
def bad_directory_oversized(run):
    told_directory(run, bytes(128 + 104 * 100_000 + 1), named=run.sign_directory())


@bad(
    "The server signs a directory of its own.",
    "Identities that the server made up.",
    signed=True,
)
def bad_directory_signature(run):
    told_directory(run, run.sign_directory(authority=SigningKey.from_seed(b"s" * 32)))


@bad(
    "The directory that comes is signed, and not the one that the plan names.",
    "Clients of one round with different directories.",
    signed=True,
)
def bad_directory_other(run):
    told_directory(run, run.sign_directory(2), named=run.sign_directory(3))


@bad(
    "The plan names the directory under another epoch.",
    "Clients of one round remember different epochs.",
    signed=True,
)
def bad_directory_epoch(run):
    told_directory(run, run.sign_directory(2), directory_epoch=3)


@bad(
    "A directory of an epoch before the latest that the client saw.",
    "A key that was revoked comes back.",
    signed=True,
)
def bad_directory_stale(run):
    run.store(VICTIM, "directory", epoch=2, digest=run.sign_directory(2).digest())
    told_directory(run, run.sign_directory(1))


@bad(
    "A second directory of one epoch.",
    "The authority shows different identities to different clients.",
    signed=True,
)
def bad_directory_second(run):
    run.store(VICTIM, "directory", epoch=1, digest=run.sign_directory(1).digest())
    told_directory(run, run.sign_directory(1, c009=SigningKey.from_seed(b"9" * 32).public))


@bad(
    "The directory does not have this client.",
    "The client's keys hold for nobody; it deals shares for nothing.",
    signed=True,
    unenrolled={VICTIM},
)
def bad_not_enrolled(run):
    told_directory(run, run.sign_directory())


@bad(
    "The directory has another key under this client's name.",
    "Somebody else speaks under the client's name.",
    signed=True,
)
def bad_enrolled_with_another_key(run):
    told_directory(run, run.sign_directory(c000=SigningKey.from_seed(b"9" * 32).public))


@bad(
    "A client that has pinned no authority is asked where identities matter.",
    "It believes whoever signs.",
    signed=True,
    unpinned={VICTIM},
)
def bad_no_authority(run):
    told_directory(run, run.sign_directory())


# ------------------------------------------------------------------ lies about the broadcast


@bad(
    "Another broadcast than the plan names.",
    "One client trains on a model of its own, and is read out of the sum.",
)
def bad_broadcast(run):
    attempt = run.attempt()
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM, broadcast=b"another model"))


# ------------------------------------------------------------------ the first of two lies


@bad(
    "A version that is not spoken, in an invitation that is for another client.",
    "None: this shows that the plan is checked first.",
)
def bad_order_version_first(run):
    attempt = run.attempt()
    message = attempt.invitation(VICTIM, changes={"version": 9}, place=attempt.places[OTHER])
    run.receive(attempt, VICTIM, message)


def shows(order):
    return f"None: this shows that {order}."


tell(
    "bad_order_plan_before_policy",
    "Another modulus, in a plan below the policy.",
    shows("the plan is checked before the policy"),
    change={"modulus_bits": 6},
    policy={"aggregation": {"min_clients": 3}},
)
tell(
    "bad_order_fields_before_attempts",
    "A committee, in a third attempt of two.",
    shows("what no protocol here has is looked for before attempts are counted"),
    change={"committee_root": b"c" * 32, "attempt": 3},
)
tell(
    "bad_order_attempts_before_quorum",
    "A third attempt of two, with a threshold that one client reaches.",
    shows("attempts are counted before the quorum is checked"),
    change={"attempt": 3, "threshold": 1},
)
tell(
    "bad_order_quorum_before_degree",
    "A threshold above the cohort's size, and a degree on the complete graph.",
    shows("the quorum is checked before the degree is compared"),
    change={"threshold": 4, "degree": 2},
)
tell(
    "bad_order_threshold_before_modulus",
    "Another threshold and another modulus than the plan leads to.",
    shows("the threshold is checked before the modulus"),
    change={"threshold": 3, "modulus_bits": 6},
)
tell(
    "bad_order_data_before_protocol",
    "Another data set, and a protocol that the client does not allow.",
    shows("the data set is checked before the protocol"),
    policy={"dataset": {"id": "twos"}, "aggregation": {"protocol": ["secagg"]}},
)
tell(
    "bad_order_adversary_first",
    "A weaker setting, and fewer clients, than the client asks for, and another data set.",
    shows("the setting, which decides whether a directory is asked for, is checked first of these"),
    policy={
        "dataset": {"id": "twos"},
        "aggregation": {"adversary": "malicious", "min_clients": 3, "corrupt": 1},
    },
)
tell(
    "bad_order_clients_before_corrupt",
    "Fewer clients, and fewer corrupt ones, than the client asks for, and a larger norm.",
    shows("the least number of clients is checked first of these"),
    policy={"aggregation": {"min_clients": 3, "corrupt": 1}, "update": {"clip": 1.0}},
)


@bad(
    "A directory of another authority, which is not the one that the plan names either.",
    shows("the directory's signature is checked before its hash"),
    signed=True,
)
def bad_order_signature_before_hash(run):
    impostor = SigningKey.from_seed(b"s" * 32)
    told_directory(run, run.sign_directory(authority=impostor), named=run.sign_directory())


@bad(
    "A directory of an old epoch, which is not the one that the plan names.",
    shows("the directory's hash is checked before the store is asked"),
    signed=True,
)
def bad_order_hash_before_epoch(run):
    run.store(VICTIM, "directory", epoch=5, digest=ZERO)
    told_directory(run, run.sign_directory(1), named=run.sign_directory(2))


@bad(
    "A directory of an old epoch, which has another key under the client's name.",
    shows("the store is asked before the client looks for itself"),
    signed=True,
)
def bad_order_epoch_before_enrolment(run):
    run.store(VICTIM, "directory", epoch=5, digest=ZERO)
    told_directory(run, run.sign_directory(c000=SigningKey.from_seed(b"9" * 32).public))


@bad(
    "An attempt that was begun, under other terms, at a round that was answered; then a later one.",
    shows("what was begun comes before what was answered, and that before the terms"),
)
def bad_order_of_the_store(run):
    at = {"run_id": OTHER_RUN, "round": 3}
    run.store(VICTIM, "begin", **at, attempt=1, terms=b"t" * 32)
    run.store(VICTIM, "answered", **at, broadcast=ZERO, survivors=["a", "b"], floor=2)
    run.store(VICTIM, "begin", **at, attempt=1, terms=b"u" * 32)
    run.store(VICTIM, "begin", **at, attempt=2, terms=b"u" * 32)


@bad(
    "A plan below the policy, in an invitation that is for another client.",
    shows("the place is checked before the policy"),
    policy={"aggregation": {"min_clients": 3}},
)
def bad_order_place_before_policy(run):
    attempt = run.attempt()
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM, place=attempt.places[OTHER]))


@bad(
    "Another member's place, and another broadcast.",
    shows("the place is checked before the broadcast"),
)
def bad_order_place_before_broadcast(run):
    attempt = run.attempt()
    place = attempt.places[OTHER]
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM, broadcast=b"another", place=place))


@bad(
    "Another broadcast, and a directory that leaves the client out.",
    shows("the broadcast is checked before a directory is checked and remembered"),
    signed=True,
    unenrolled={VICTIM},
)
def bad_order_broadcast_before_directory(run):
    attempt = run.attempt()
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM, broadcast=b"another model"))


@bad(
    "A directory that leaves the client out, and a plan below the policy.",
    shows("a floor is told to nobody without a directory that has the client"),
    signed=True,
    unenrolled={VICTIM},
    policy={"aggregation": {"min_clients": 3}},
)
def bad_order_directory_before_policy(run):
    told_directory(run, run.sign_directory())


@bad(
    "An attempt that was begun, with a plan below the policy.",
    shows("what was begun is told last"),
    policy={"aggregation": {"min_clients": 3}},
)
def bad_order_policy_before_store(run):
    run.store(VICTIM, "begin", run_id=OTHER_RUN, round=1, attempt=1, terms=b"t" * 32)
    attempt = run.attempt(run_id=OTHER_RUN)
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM))


# ------------------------------------------------------------------ what the store refuses


def begun_then(run, first, second):
    for where in (first, second):
        attempt = run.attempt(**where)
        run.receive(attempt, VICTIM, attempt.invitation(VICTIM))


@bad(
    "An attempt that was begun is begun again, under a fresh nonce.",
    "Two inputs of one attempt, under two masks.",
)
def bad_attempt_again(run):
    begun_then(run, {}, {})


@bad(
    "The first attempt, after the second was begun.", "Two inputs of one attempt, under two masks."
)
def bad_attempt_backwards(run):
    begun_then(run, {"attempt": 2}, {"attempt": 1})


@bad(
    "A round before one that was begun.",
    "An old model is trained on again, when the clients' data have changed.",
)
def bad_round_backwards(run):
    begun_then(run, {"number": 2}, {"number": 1})


@bad(
    "The second attempt at a round has another cohort.",
    "Two sums over nearly the same clients, each with a quorum of its own.",
)
def bad_other_cohort(run):
    begun_then(run, {}, {"attempt": 2, "cohort": run.cohort(2)})


@bad(
    "The second attempt at a round has another plan.",
    "A guarantee that the first attempt's clients did not agree to.",
)
def bad_other_plan(run):
    begun_then(run, {}, {"attempt": 2, "plan": {"aggregation": {"attempts": 3}}})


@bad(
    "A second attempt after the first was answered.",
    "Two sums of one round: their difference is who was left out.",
    plan=CURIOUS,
)
def bad_attempt_after_an_answer(run):
    run.play(run.attempt())
    second = run.attempt(attempt=2)
    run.receive(second, VICTIM, second.invitation(VICTIM))


@bad(
    "Two attempts run side by side, and both are to be answered.",
    "Two sums of one round: their difference is who was left out.",
    plan=CURIOUS,
)
def bad_two_answers(run):
    first = run.attempt()
    told = run.play(first, until="unmasking")
    second = run.attempt(attempt=2)
    again = run.play(second, until="unmasking")
    run.receive(first, VICTIM, told[VICTIM])
    run.receive(second, VICTIM, again[VICTIM])


@bad(
    "A survivor set that differs in one name from one that was answered under the same broadcast.",
    "The two sums differ by one client.",
    plan=CURIOUS,
)
def bad_survivors_overlap(run):
    run.play(run.attempt(1))
    told = run.play(run.attempt(2), drop={"input": {LAST}}, until="unmasking")
    run.receive(run.attempts[1], VICTIM, told[VICTIM])


@bad(
    "The client's store is put back to before it began, and the round is offered again.",
    "The client has forgotten what it sent.",
    files=True,
)
def bad_store_put_back(run):
    run.copy_store(VICTIM)
    first = run.attempt()
    run.receive(first, VICTIM, first.invitation(VICTIM))
    run.contribute(first, VICTIM)
    run.put_store_back(VICTIM)
    again = run.attempt()
    run.receive(again, VICTIM, again.invitation(VICTIM))


@bad(
    "The store is put back between the invitation and the vector.",
    "The client forgets that it is about to send.",
    files=True,
)
def bad_store_put_back_before_the_input(run):
    run.copy_store(VICTIM)
    attempt = run.attempt()
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM))
    run.put_store_back(VICTIM)
    run.contribute(attempt, VICTIM)


@bad(
    "The store is put back between the vector and the survivors.",
    "The client unmasks a second time.",
    plan=CURIOUS,
    files=True,
)
def bad_store_put_back_before_the_answer(run):
    run.copy_store(VICTIM)
    attempt = run.attempt()
    told = run.play(attempt, until="unmasking")
    run.put_store_back(VICTIM)
    run.receive(attempt, VICTIM, told[VICTIM])


AT = {"run_id": OTHER_RUN, "round": 3}


@bad("An input is sent twice in one attempt.", "Two vectors under one mask.")
def bad_store_spent(run):
    run.store(VICTIM, "spent", **AT, attempt=1)
    run.store(VICTIM, "spent", **AT, attempt=2)
    run.store(VICTIM, "spent", **AT, attempt=1)


@bad(
    "Sets under one broadcast that differ in two names, where three are the least.",
    "The two sums differ by two clients.",
)
def bad_store_overlap(run):
    sets = ["a", "b", "c", "d"], ["c", "d", "e", "f"], ["a", "b", "c", "e"]
    for number, survivors in enumerate(sets, 1):
        at = {"run_id": OTHER_RUN, "round": number}
        run.store(VICTIM, "answered", **at, broadcast=ZERO, survivors=survivors, floor=3)


# ------------------------------------------------------------------ a client's own failure


@bad(
    "None: the training gave a vector of another length.",
    "The client ends, and says no more than that.",
    updates={VICTIM: ([1.0, 1.0, 1.0], 1)},
)
def bad_update(run):
    attempt = run.attempt()
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM))
    run.contribute(attempt, VICTIM)


@bad(
    "None: the client has more units than the plan allows.",
    "The client ends, and says no more than that.",
    plan={"dataset": {"unit": "patient"}, "update": {"max_units_per_client": 2}},
    updates={VICTIM: ([[1.0, 0.0, 0.0, 0.0]] * 3, 1)},
)
def bad_units(run):
    attempt = run.attempt()
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM))
    run.contribute(attempt, VICTIM)


# ------------------------------------------------------------------ lies to the server


def heard(run, *told, sender=OTHER, honest=(VICTIM, LAST)):
    """An attempt in which one sender says this, and the others are honest."""
    attempt = run.attempts[-1] if run.attempts else run.attempt()
    invitations = dict(run.invite(attempt))
    for message in told:
        run.receive(attempt, SERVER, message, sender)
    for name in honest:
        run.answer(attempt, name, invitations[name])
    run.advance(attempt)


@bad_for_server("Bytes that are no message.", "None: the sender is out.")
def bad_server_malformed(run):
    heard(run, b"\x93\xa8envelope")


@bad_for_server("An envelope that is not canonical.", "None: the sender is out.")
def bad_server_noncanonical(run):
    message = run.attempt().envelope(b"body")
    heard(run, message.replace(b"\xc4\x04body", b"\xc5\x00\x04body"))


@bad_for_server("A refusal with a code that no byte holds.", "None: the sender is out.")
def bad_server_refusal_code(run):
    heard(run, run.attempt().refusal(256))


@bad_for_server("A refusal with the code zero.", "None: the sender is out.")
def bad_server_refusal_zero(run):
    heard(run, run.attempt().refusal(0))


@bad_for_server("An invitation, to the server.", "None: the sender is out.")
def bad_server_invited(run):
    heard(run, run.attempt().invitation(OTHER))


@bad_for_server(
    "An envelope with more in it than any message of the protocol has.",
    "The server's memory.",
)
def bad_server_oversized(run):
    heard(run, run.attempt().envelope(bytes((1 << 19) + 65)))


@bad_for_server(
    "An envelope of another attempt, from a sender who then goes on honestly.",
    "What was said in one attempt is heard in another. A late message costs its sender nothing.",
)
def bad_server_wrong_round(run):
    attempt = run.attempt()
    heard(run, attempt.envelope(b"body", b"o" * 32), honest=run.names)


@bad_for_server(
    "A refusal of another attempt.", "A client is put out by what it said in another attempt."
)
def bad_server_refusal_elsewhere(run):
    heard(run, run.attempt().refusal(24, b"o" * 32), honest=run.names)


@bad_for_server(
    "An envelope that names no attempt.",
    "What belongs to no attempt is heard in this one: only a refusal may do without.",
)
def bad_server_no_round(run):
    heard(run, run.attempt().envelope(b"body", ZERO), honest=run.names)


@bad_for_server("Somebody who is not of the cohort.", "One more in the sum than was asked.")
def bad_server_stranger(run):
    heard(run, run.attempt().envelope(b"body"), sender="c009", honest=run.names)


@bad_for_server(
    "Somebody who is not of the cohort, and not to be understood.",
    "None: this shows that bytes are read before their sender is looked for.",
)
def bad_server_stranger_malformed(run):
    heard(run, b"\xff", sender="c009", honest=run.names)


@bad_for_server(
    "Somebody who is not of the cohort is late: it was of another attempt's.",
    "A client that was slow in one round is named in the record of the next.",
)
def bad_server_stranger_late(run):
    heard(run, run.attempt().envelope(b"body", b"\x01" * 32), sender="c009", honest=run.names)


@bad_for_server(
    "Somebody who is not of the cohort refuses, and names no attempt: perhaps it was asked before.",
    "A client that could not read one round's plan is named in the record of the next.",
)
def bad_server_stranger_unread(run):
    heard(run, run.attempt().refusal(1, ZERO), sender="c009", honest=run.names)


@bad_for_server(
    "Somebody who is not of the cohort refuses.",
    "A record that names people who were not asked.",
)
def bad_server_stranger_refuses(run):
    heard(run, run.attempt().refusal(24), sender="c009", honest=run.names)


@bad_for_server(
    "A client that has refused sends an input all the same.",
    "A client that is out comes back in.",
)
def bad_server_after_a_refusal(run):
    attempt = run.attempt()
    heard(run, attempt.refusal(24), upload(attempt, [0, 0, 0, 0, 1])[0])


def upload(attempt, values):
    """The envelopes in which a client of the plain protocol sends these integers."""
    packed = PackedUpload(attempt.plan.sum_plan(), attempt.places[OTHER].index)
    vector = np.array(values, dtype=np.int64)
    chunk = packed.chunk(to_residues(vector, attempt.plan.modulus_bits))
    return attempt.envelope(chunk), attempt.envelope(encode(PlainInput(packed.checksum())))


@bad_for_server(
    "A client sends a coordinate beyond its bound, and the sum is beyond what three reach.",
    "A sum that no honest clients have, taken for one.",
)
def bad_server_sum_range(run):
    # Two honest clients send -1 there.
    heard(run, *upload(run.attempt(), [0, -13, 0, 0, 1]))


@bad_for_server("The total weight is negative.", "A mean that divides by it.")
def bad_server_weight_range(run):
    heard(run, *upload(run.attempt(), [0, 0, 0, 0, -3]))


@bad_for_server("A chunk is left out.", "A vector with a hole in the sum.")
def bad_server_no_chunk(run):
    heard(run, upload(run.attempt(), [0, 0, 0, 0, 1])[1])


@bad_for_server("A second chunk, where the vector has one.", "A vector that runs over.")
def bad_server_two_chunks(run):
    attempt = run.attempt()
    heard(run, upload(attempt, [0] * 5)[0], attempt.envelope(encode(MaskedChunk(1, b"\0\0\0\0"))))


@bad_for_server("Another checksum than the upload's.", "An upload that was cut on its way.")
def bad_server_checksum(run):
    attempt = run.attempt()
    closing = attempt.envelope(encode(PlainInput(bytes(16))))
    heard(run, upload(attempt, [0] * 5)[0], closing)


@bad_for_server(
    "Bits after the last value are not zero.",
    "Two uploads of one vector.",
)
def bad_server_padding(run):
    attempt = run.attempt()
    data = bytes(3) + b"\x80"  # five values of five bits
    checksum = Checksum(digest("upload", attempt.plan.round_id), attempt.places[OTHER].index)
    checksum.update(data)
    chunk = attempt.envelope(encode(MaskedChunk(0, data)))
    heard(run, chunk, attempt.envelope(encode(PlainInput(checksum.value()))))


@bad_for_server("A second input.", "A client counts twice.")
def bad_server_second_input(run):
    attempt = run.attempt()
    sent = upload(attempt, [0, 0, 0, 0, 1])
    heard(run, *sent, sent[1])


@bad_for_server("An input after the sum was taken.", "The sum changes after it was released.")
def bad_server_late(run):
    heard(run)
    attempt = run.attempts[0]
    run.receive(attempt, SERVER, upload(attempt, [0] * 5)[0], OTHER)


# ------------------------------------------------------------------ noise

REALS = {
    "c000": ([0.25, -0.5, 0.125, 0.1], 1),
    "c001": ([0.0, 0.5, -0.3, 0.7], 1),
    "c002": ([-0.6, 0.0, 0.0, 0.01], 1),
}


@ok(
    "Each client adds a share of Skellam noise inside the masked sum; a mean divides by a public "
    "number.",
    signed=True,
    noise={},
    plan={"update": {"clip": 1.0, "value_bits": 8, "public_weight": 100}},
    updates=REALS,
)
def ok_noise_distributed(run):
    run.play(run.attempt())


@ok(
    "A patient is the unit, and may be at two clients: each adds twice as much as for one. A "
    "vector that is too long once it is rounded is rounded again.",
    noise={"mechanism": "discrete-gaussian"},
    plan={
        "dataset": {"unit": "patient"},
        "update": {
            "clip": 1.25,
            "value_bits": 3,
            "max_units_per_client": 12,
            "max_clients_per_unit": 2,
        },
    },
    updates={
        # Of these, which are as long as may be, every sixteenth comes out too long.
        "c000": ([[0.62, 0.62, 0.62, -0.62]] * 12, 1),
        "c001": ([[0.62, -0.62, 0.62, -0.62], [0.0, 0.0, 0.0, 9.0]], 1),
        "c002": ([[0.62, 0.62, -0.62, -0.62]] * 12, 1),
    },
)
def ok_noise_patient_unit(run):
    run.play(run.attempt())


@ok(
    "Each client adds all of the noise itself, and the server sees every vector: one that is lost "
    "takes nothing away from the others' noise.",
    noise={"trust": "client", "mechanism": "discrete-gaussian"},
    plan={"aggregation": {"protocol": "plain"}, "update": {"clip": 1.0, "value_bits": 8}},
    updates=REALS,
)
def ok_noise_client(run):
    run.play(run.attempt(), drop={"input": {LAST}})


@ok(
    "The server is trusted to add the noise: clients send what they have, and it adds to the sum.",
    noise={"trust": "server"},
    plan={
        "update": {"clip": 1.0, "value_bits": 8, "public_weight": 3},
        "sampling": {"scheme": "poisson", "rate": 0.5},
    },
    updates=REALS,
)
def ok_noise_server(run):
    run.play(run.attempt())


@ok(
    "Noise of a deviation beyond a table's, in steps of a power of two: the bound of a share is "
    "that of its coarse table.",
    noise={"mechanism": "discrete-gaussian", "noise_multiplier": 3.0},
    plan={"update": {"clip": 1.0, "value_bits": 16}},
    updates=REALS,
)
def ok_noise_wide(run):
    run.play(run.attempt())


@ok(
    "Skellam noise beyond a table's variance: the sum of as many equal shares as will do, whose "
    "bounds add up.",
    noise={"noise_multiplier": 1.0},
    plan={"update": {"clip": 1.0, "value_bits": 14}},
    updates=REALS,
)
def ok_noise_many_terms(run):
    run.play(run.attempt())


@ok(
    "One of two patients' vectors is not finite: it counts as zeros, and nobody sees that it is "
    "there.",
    noise={},
    plan={
        "dataset": {"unit": "patient"},
        "update": {"clip": 1.0, "value_bits": 8, "max_units_per_client": 2},
    },
    updates={
        "c000": ([[0.25, None, 0.125, 0.1], [0.0, 0.5, -0.3, 0.7]], 1),
        "c001": ([[0.0, 0.5, -0.3, 0.7]], 1),
        "c002": ([[0.5, 0.0, 0.0, 0.5]], 1),
    },
)
def ok_noise_not_finite(run):
    run.play(run.attempt())


ADAPTIVE = {"quantile": 0.5, "rate": 0.2, "initial": 0.75, "count_deviation": 2.0}
FINE = {"clip": 1.0, "value_bits": 8, "public_weight": 3}


@ok(
    "The clip follows a noisy count: each client marks whether it was within the norm in force, "
    "in one more integer, and the server moves the norm for the next round.",
    noise={},
    plan={"update": FINE, "adaptive": ADAPTIVE},
    updates=REALS,
)
def ok_adaptive_clip(run):
    run.play(run.attempt())


@ok(
    "Patients are counted one by one, by a server that adds the noise.",
    noise={"trust": "server", "mechanism": "discrete-gaussian"},
    plan={
        "dataset": {"unit": "patient"},
        "update": FINE | {"max_units_per_client": 3},
        "adaptive": ADAPTIVE | {"initial": 0.0},
    },
    updates={
        "c000": ([[0.25, -0.5, 0.125, 0.1], [0.0, 9.0, -0.3, 0.7]], 1),
        "c001": ([[0.0, 0.5, -0.3, 0.7]] * 3, 1),
        "c002": ([[1.5, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]], 1),
    },
)
def ok_adaptive_units(run):
    run.play(run.attempt())


TURNED = {"clip": 4.0, "value_bits": 6, "rotation": "hadamard"}
SPARSE = {
    "c000": ([0.0] * 12 + [3.5], 1),
    "c001": ([0.5, -0.25, 0.0, 1.0, 0.0, 0.0, -2.0, 0.0, 0.0, 0.0, 0.75, 0.0, 0.0], 1),
    "c002": ([1.0, -1.0] * 6 + [0.5], 1),
}


@ok(
    "Vectors are turned by signs that follow from the round's id, in a length that is the next "
    "power of two.",
    plan={"update": TURNED | {"weights": "uniform"}},
    updates=SPARSE,
    length=13,
)
def ok_rotation(run):
    run.play(run.attempt())


@ok(
    "Turned and weighted.",
    plan={"update": TURNED | {"max_units_per_client": 4}},
    updates={name: (values, 1 + i) for i, (name, (values, _)) in enumerate(SPARSE.items())},
    length=13,
)
def ok_rotation_weighted(run):
    run.play(run.attempt())


@ok(
    "Turned, counted and with noise in each of the sixteen coordinates and the count.",
    noise={},
    plan={
        "update": {**TURNED, "public_weight": 3, "value_bits": 10},
        "adaptive": ADAPTIVE | {"initial": 3.75},
    },
    updates=SPARSE,
    length=13,
)
def ok_rotation_noise(run):
    run.play(run.attempt())


BUDGET = {"ones": {"epsilon": 10.0, "delta": 1e-5}}


@ok(
    "A policy and a budget that the plan's noise meets; the ledger's head is kept, and the next "
    "one, too.",
    signed=True,
    noise={"noise_multiplier": 4.0},
    policy={
        "noise": {"trust": "distributed", "noise_multiplier": 4.0, "epsilon": 8.0, "delta": 1e-5}
    },
    budget=BUDGET,
    records={VICTIM},
)
def ok_noise_with_a_budget(run):
    run.play(run.attempt(1, ledger=run.head(5, b"h" * 32)))
    second = run.attempt(2, ledger=run.head(9, b"i" * 32))
    run.play(second, until="shares")


@ok(
    "The last round that a budget holds is asked in two attempts, and charged once.",
    noise={},
    budget={"ones": {"epsilon": 3.0, "delta": 1e-5}},
    records={VICTIM},
)
def ok_noise_charged_once(run):
    run.play(run.attempt(), drop={"input": {OTHER, LAST}})
    run.play(run.attempt(attempt=2))


NOISY = {"noise": {}}
LOUD = {"noise": {"noise_multiplier": 4.0}}
tell(
    "bad_noise_summed_weights",
    "A plan with noise, and weights that are summed without any.",
    "How many units a client has is released as it is.",
    plan={"update": {"weights": "summed"}},
    noise={"trust": "server"},
)
tell(
    "bad_noise_shares_in_the_open",
    "Each client adds a share of the noise, and sends its vector in the open.",
    "The server sees a vector with less noise than was promised.",
    plan={"noise": {"trust": "distributed"}, "aggregation": {"protocol": "plain"}},
    noise={"trust": "client"},
)
tell(
    "bad_noise_without_rounds",
    "A plan with noise that does not say for how many rounds.",
    "A promise about nothing.",
    plan={"noise": {"rounds": 0}},
    **NOISY,
)
tell(
    "bad_noise_of_nobody",
    "A plan that nobody adds noise to, with an epsilon.",
    "A promise that nothing keeps.",
    plan={"noise": {"epsilon": 1.0}},
)
tell(
    "bad_noise_too_large",
    "The server's noise is larger than anybody can draw.",
    "A promise that nothing keeps.",
    plan={"noise": {"noise_multiplier": 2e6}},
    noise={"trust": "server"},
)
tell(
    "bad_noise_small_shares",
    "Shares of discrete Gaussian noise so small that their sum is far from one.",
    "A guarantee that was derived from something else.",
    plan={"noise": {"noise_multiplier": 0.25, "mechanism": "discrete-gaussian"}},
    **NOISY,
)
tell(
    "bad_noise_modulus",
    "A modulus that has no room for the noise.",
    "Sums wrap and say something else.",
    change={"modulus_bits": 5},
    **NOISY,
)
tell(
    "bad_noise_round_beyond",
    "A fourth round, where the noise is for three.",
    "More is told than the plan says that all rounds tell.",
    change={"round": 4},
    **NOISY,
)
tell(
    "bad_sampling_rate",
    "All are asked, at a rate of a half.",
    "A guarantee that counts on chance where there is none.",
    plan={"sampling": {"rate": 0.5}},
)
tell(
    "bad_public_weight",
    "A public number to divide by, where the sum has its weight.",
    "Two means of one sum.",
    plan={"update": {"public_weight": 7}},
)
tell(
    "bad_value_bits_for_noise",
    "So few bits that rounding makes one client's vector half as long again.",
    "Noise for what is only rounding.",
    plan={"update": {"clip": 1.0, "value_bits": 2}},
    **NOISY,
)
tell(
    "bad_adaptive_exact",
    "A clip that follows a count without noise.",
    "How many are within the norm is told exactly, round after round.",
    plan={"update": FINE | {"weights": "uniform"}, "adaptive": ADAPTIVE},
)
tell(
    "bad_adaptive_unknown_number",
    "A share of a number of units that is not public.",
    "The share tells how many took part.",
    plan={"update": FINE | {"public_weight": 0}, "adaptive": ADAPTIVE},
    **NOISY,
)
tell(
    "bad_adaptive_initial",
    "The first round's norm is above the plan's.",
    "One client counts more than the policy allows.",
    plan={"update": FINE, "adaptive": ADAPTIVE | {"initial": 1.5}},
    **NOISY,
)
tell(
    "bad_adaptive_count",
    "A count so exact that it takes all of the noise.",
    "Nothing is left for the vector.",
    plan={"update": FINE, "adaptive": ADAPTIVE | {"count_deviation": 1.0}},
    **NOISY,
)
tell(
    "bad_adaptive_without_a_quantile",
    "A first norm of a clip that does not move.",
    "Two clients read two norms in one plan.",
    plan={"adaptive": {"initial": 1.0}},
)
below(
    "bad_policy_noise",
    "Less noise than the client asks for.",
    ASKED,
    {"noise": {"noise_multiplier": 2.5}},
    **NOISY,
)
below(
    "bad_policy_noise_trust",
    "The server's noise, where the client asks for its own.",
    "The server leaves it out.",
    {"noise": {"trust": "distributed"}},
    noise={"trust": "server"},
)
below(
    "bad_policy_noise_epsilon",
    "All rounds together are to cost more than the client allows.",
    ASKED,
    {"noise": {"epsilon": 7.5}},
    **NOISY,
)
below(
    "bad_policy_noise_delta",
    "A larger delta than the client allows.",
    ASKED,
    {"noise": {"delta": 1e-6}},
    **LOUD,
)
below(
    "bad_policy_noise_derived",
    "The plan says what the client allows, and its noise gives less.",
    "A figure that nothing stands behind.",
    {"noise": {"epsilon": 0.5}},
    noise={"epsilon": 0.5},
)


# ------------------------------------------------------------------ lies about the ledger


def told_head(run, named, data):
    attempt = run.attempt(ledger=named)
    run.receive(attempt, VICTIM, attempt.invitation(VICTIM, ledger=data))


@bad("The ledger's head is changed after it was signed.", "A row that nobody signed.", **NOISY)
def bad_head_signature(run):
    head = run.head(5, b"h" * 32)
    told_head(run, head, encode(msgspec.structs.replace(head, number=6)))


@bad(
    "The head that comes is signed, and not the one that the plan names.",
    "Clients of one round keep different heads, and nothing shows it.",
    **NOISY,
)
def bad_head_other(run):
    told_head(run, run.head(5, b"h" * 32), encode(run.head(5, b"i" * 32)))


@bad("The plan names a head, and none comes.", "Nobody can hold it against the server.", **NOISY)
def bad_head_missing(run):
    told_head(run, run.head(5, b"h" * 32), b"")


@bad("A head comes that the plan does not name.", "Bytes that nobody checks.", **NOISY)
def bad_head_unnamed(run):
    told_head(run, None, encode(run.head(5, ZERO)))


@bad(
    "A second head for one row of the ledger.",
    "The ledger was rewritten: what was spent is taken back.",
    **LOUD,
)
def bad_head_rewritten(run):
    for number, head in ((1, b"h" * 32), (2, b"i" * 32)):
        attempt = run.attempt(number, ledger=run.head(5, head))
        run.receive(attempt, VICTIM, attempt.invitation(VICTIM))


@bad(
    "Another operator signs for the ledger.",
    "Two histories, each signed by somebody else: neither contradicts the other.",
    **LOUD,
)
def bad_head_operator(run):
    for number, operator in ((1, None), (2, SigningKey.from_seed(b"o" * 32))):
        attempt = run.attempt(number, ledger=run.head(number, b"h" * 32, operator=operator))
        run.receive(attempt, VICTIM, attempt.invitation(VICTIM))


# ------------------------------------------------------------------ receipts


@ok(
    "The attempt is settled in the server's ledger: each client that took part, and did not "
    "decline, gets the head signed since, and keeps it. The next round's plan names a later one.",
    n=4,
    plan={"aggregation": {"threshold": 3}},
    noise={"noise_multiplier": 4.0},
    policies={"c003": {"noise": {"noise_multiplier": 5.0}}},
)
def ok_settled(run):
    first = run.attempt(1, ledger=run.head(5, b"h" * 32))
    run.play(first)
    run.settle(first, run.head(7, b"i" * 32))
    second = run.attempt(2, ledger=run.head(8, b"j" * 32))
    run.play(second, ["c000", "c001", "c002"])
    run.settle(second, run.head(10, b"k" * 32))


@ok(
    "Clients that were asked to unmask, and from too few of whom an answer came: the attempt is "
    "settled, and a client that was lost before its first message gets no receipt.",
    noise={"noise_multiplier": 4.0},
    n=4,
    plan={"aggregation": {"threshold": 3}},
    records={SERVER, VICTIM},
)
def ok_settled_without_a_sum(run):
    attempt = run.attempt(1, ledger=run.head(5, b"h" * 32))
    run.play(attempt, drop={"keys": {"c003"}, "unmasking": {OTHER, LAST}})
    run.settle(attempt, run.head(7, b"i" * 32))


def settled(name, lie, effect, receipt, *, ledger=True):
    """A negative of one receipt, of `receipt(run, attempt)`; the client goes on as it was."""

    def play(run):
        head = run.head(5, b"h" * 32) if ledger else None
        attempt = run.attempt(ledger=head)
        run.receive(attempt, VICTIM, attempt.invitation(VICTIM))
        run.contribute(attempt, VICTIM)
        run.receive(attempt, VICTIM, receipt(run, attempt))
        if ledger:
            run.receive(attempt, VICTIM, attempt.settled(run.head(7, b"i" * 32)))

    options = {"records": {VICTIM}, **LOUD}
    _register({"lie": lie, "effect": effect}, options, play, name)


UNBOUND = "A receipt that contradicts nothing, whatever becomes of the ledger."
settled(
    "bad_settled_operator",
    "Another operator signs the receipt.",
    UNBOUND,
    lambda run, attempt: attempt.settled(
        run.head(7, b"i" * 32, operator=SigningKey.from_seed(b"o" * 32))
    ),
)
settled(
    "bad_settled_ledger",
    "The receipt is of another ledger.",
    UNBOUND,
    lambda run, attempt: attempt.settled(run.head(7, b"i" * 32, ledger=b"another-16-bytes")),
)
settled(
    "bad_settled_row",
    "The receipt is of the row that the plan named: nothing was settled since.",
    "What the round told can be taken out of the ledger again.",
    lambda run, attempt: attempt.settled(run.head(5, b"h" * 32)),
)
settled(
    "bad_settled_signature",
    "The receipt's row is changed after it was signed.",
    "A row that nobody signed.",
    lambda run, attempt: attempt.settled(msgspec.structs.replace(run.head(7, b"i" * 32), number=8)),
)
settled(
    "bad_settled_no_head",
    "What comes as a receipt is no head.",
    "Bytes that nobody can hold against anybody.",
    lambda _, attempt: attempt.settled(b"\x90"),
)
settled(
    "bad_settled_elsewhere",
    "A receipt for another attempt.",
    "A client takes it for what it was told in this one.",
    lambda run, attempt: attempt.settled(run.head(7, b"i" * 32), round_id=ZERO),
)
settled(
    "bad_settled_unnamed",
    "A receipt, where the plan names no ledger.",
    "Bytes that nobody checks.",
    lambda run, attempt: attempt.settled(run.head(7, b"i" * 32)),
    ledger=False,
)


@bad("A receipt comes before the invitation.", "None: no round is known.", **LOUD)
def bad_settled_first(run):
    attempt = run.attempt(ledger=run.head(5, b"h" * 32))
    run.receive(attempt, VICTIM, attempt.settled(run.head(7, b"i" * 32)))


@bad(
    "The next round's plan names another hash of a row that a receipt spoke of.",
    "What was settled is taken out of the ledger again.",
    **LOUD,
)
def bad_settled_rewritten(run):
    first = run.attempt(1, ledger=run.head(5, b"h" * 32))
    run.receive(first, VICTIM, first.invitation(VICTIM))
    run.receive(first, VICTIM, first.settled(run.head(7, b"i" * 32)))
    second = run.attempt(2, ledger=run.head(7, b"j" * 32))
    run.receive(second, VICTIM, second.invitation(VICTIM))


# ------------------------------------------------------------------ a client's budget


@bad(
    "A second round, where the client's budget holds one.",
    "The client's data tell more than it has allowed.",
    budget={"ones": {"epsilon": 3.0, "delta": 1e-5}},
    noise={"trust": "client"},
    plan={"aggregation": {"protocol": "plain"}},
)
def bad_budget(run):
    for number in (1, 2):
        attempt = run.attempt(number)
        run.receive(attempt, VICTIM, attempt.invitation(VICTIM))
        if number == 1:
            run.contribute(attempt, VICTIM)


@bad(
    "A second attempt at a second round, which the client was not asked at before.",
    "What the budget does not hold is told, if only at a later attempt.",
    budget={"ones": {"epsilon": 3.0, "delta": 1e-5}},
    noise={"trust": "client"},
    plan={"aggregation": {"protocol": "plain"}},
)
def bad_budget_later_attempt(run):
    for number in (1, 2):
        attempt = run.attempt(number, attempt=number)
        run.receive(attempt, VICTIM, attempt.invitation(VICTIM))
        if number == 1:
            run.contribute(attempt, VICTIM)


@bad(
    "Two rounds are begun side by side, where the client's budget holds one.",
    "Each was affordable when it began; both are sent.",
    budget={"ones": {"epsilon": 3.0, "delta": 1e-5}},
    noise={"trust": "client"},
    plan={"aggregation": {"protocol": "plain"}},
)
def bad_budget_at_the_mark(run):
    begun = [run.attempt(run_id=run_id) for run_id in (b"run-of-16-bytes!", OTHER_RUN)]
    for attempt in begun:
        run.receive(attempt, VICTIM, attempt.invitation(VICTIM))
    for attempt in begun:
        run.contribute(attempt, VICTIM)


@bad(
    "A second run, where the client's budget holds one round.",
    "Under another run id the budget begins anew.",
    budget={"ones": {"epsilon": 3.0, "delta": 1e-5}},
    noise={"trust": "client"},
    plan={"aggregation": {"protocol": "plain"}},
)
def bad_budget_in_another_run(run):
    for run_id in (b"run-of-16-bytes!", OTHER_RUN):
        attempt = run.attempt(run_id=run_id)
        run.receive(attempt, VICTIM, attempt.invitation(VICTIM))
        if run_id != OTHER_RUN:
            run.contribute(attempt, VICTIM)


tell(
    "bad_budget_another_name",
    "The data set under another name, for which the client has no budget.",
    "Under another name the budget begins anew.",
    plan={"dataset": {"id": "twos"}},
    budget=BUDGET,
    **LOUD,
)
tell(
    "bad_budget_without_noise",
    "An exact sum, of data that have a budget.",
    "What an exact sum tells no budget holds.",
    budget=BUDGET,
)
tell(
    "bad_order_policy_before_budget",
    "A plan below the policy, for data that have no budget.",
    shows("the policy is checked before the budget"),
    plan={"dataset": {"id": "twos"}},
    budget=BUDGET,
    policy={"aggregation": {"min_clients": 3}},
    **LOUD,
)


@bad(
    "Another ledger's head, and a directory that leaves the client out.",
    shows("the head, which the message itself gives away, is checked before the directory"),
    signed=True,
    noise={},
    unenrolled={VICTIM},
)
def bad_order_head_before_directory(run):
    told_head(run, run.head(5, b"h" * 32), encode(run.head(5, b"i" * 32)))


@bad(
    "Another broadcast, and another ledger's head.",
    shows("the broadcast is checked before the head"),
    **NOISY,
)
def bad_order_broadcast_before_head(run):
    attempt = run.attempt(ledger=run.head(5, b"h" * 32))
    message = attempt.invitation(VICTIM, broadcast=b"another model", ledger=b"")
    run.receive(attempt, VICTIM, message)


@bad(
    "A round that the budget does not hold, at an attempt that was begun.",
    shows("the budget is asked before the store begins"),
    budget={"ones": {"epsilon": 3.0, "delta": 1e-5}},
    noise={"trust": "client"},
    plan={"aggregation": {"protocol": "plain"}},
)
def bad_order_budget_before_store(run):
    begun, charged = run.attempt(), run.attempt(run_id=OTHER_RUN)
    for attempt in (begun, charged):
        run.receive(attempt, VICTIM, attempt.invitation(VICTIM))
    run.contribute(charged, VICTIM)
    again = run.attempt()
    run.receive(again, VICTIM, again.invitation(VICTIM))
