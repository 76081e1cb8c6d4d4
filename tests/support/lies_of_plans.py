"""Lies in a plan, its directory or its broadcast."""

import msgspec

from fedprivacy.arithmetic import from_residues, unpack
from fedprivacy.crypto import SigningKey
from fedprivacy.errors import Reason
from fedprivacy.rounds.policy import DatasetFloor, UpdateBounds
from fedprivacy.secagg import Adversary
from fedprivacy.secagg.uploads import MaskedChunk
from fedprivacy.wire import encode
from lie_registry import LIES, Lie, lie
from lying_server import BROADCAST, CLIP, Table

CURIOUS = {"adversary": Adversary.HONEST_BUT_CURIOUS}


def plan_lie(name, reason, doc, *, changes=None, lying=None, honest=None):
    """Registers a lie in one plan, offered to everyone: `changes` to an honest plan, or a table."""

    def script(honest_turn):
        table = Table(**((honest if honest_turn else lying) or {}))
        cohort = table.cohort()
        plan = table.freeze(cohort, **({} if honest_turn else changes or {}))
        script = table.script(plan, cohort).invite()
        return script.finish() if honest_turn else table.told(won=script.adverts)

    def told(honest):
        return script(honest)

    told.__doc__ = doc
    LIES[name] = Lie(name, reason, told)


plan_lie(
    "another-version",
    Reason.CODEPOINT,
    "The plan is of a version whose rules this client does not know.",
    changes={"version": 2},
)
plan_lie(
    "threshold-without-quorum",
    Reason.QUORUM,
    "The plan's threshold lets two survivor sets be unmasked: 2t = n + c.",
    lying={"aggregation": {"threshold": 3}},
)
plan_lie(
    "one-honest-client-in-the-sum",
    Reason.QUORUM,
    "With t = n = c + 1 the corrupt would see the only honest client's vector.",
    lying={"clients": 3, "aggregation": {"corrupt": 2, "min_clients": 2, "threshold": 3}},
    honest={"clients": 4, "aggregation": {"corrupt": 2, "min_clients": 2}},
)
plan_lie(
    "threshold-lower-than-the-plan-says",
    Reason.PLAN,
    "The plan promises t = 5; this attempt is frozen with t = 4, for which the quorum still holds.",
    changes={"threshold": 4},
    lying={"aggregation": {"threshold": 5}},
    honest={"aggregation": {"threshold": 5}},
)
plan_lie(
    "threshold-below-policy",
    Reason.POLICY_THRESHOLD,
    "The plan's threshold is below the client's floor.",
    lying={"floor": {"threshold": 5}},
    honest={"floor": {"threshold": 4}},
)
plan_lie(
    "min-clients-below-policy",
    Reason.POLICY_COHORT,
    "The plan releases sums over fewer clients than the client's floor.",
    lying={"floor": {"min_clients": 4}},
)
plan_lie(
    "corrupt-below-policy",
    Reason.POLICY_CORRUPT,
    "The plan withstands fewer corrupt clients than the client asks for.",
    lying={"floor": {"corrupt": 2}},
)
plan_lie(
    "adversary-downgraded",
    Reason.POLICY_ADVERSARY,
    "Masked aggregation is offered in the setting without signatures.",
    lying={"aggregation": CURIOUS, "floor": {"adversary": Adversary.MALICIOUS}},
)
plan_lie(
    "suite-not-allowed",
    Reason.POLICY_SUITE,
    "The plan's cipher suite is not among those that the client allows.",
    lying={"floor": {"suite": ("a-later-suite",)}},
)
plan_lie(
    "another-data-set",
    Reason.POLICY_DATASET,
    "The plan is for data that this client does not offer.",
    lying={"require": {"dataset": DatasetFloor(id="other data")}},
    honest={"require": {"dataset": DatasetFloor(id="data")}},
)
plan_lie(
    "clip-above-policy",
    Reason.POLICY_UPDATE,
    "The plan clips at a larger norm than the client allows.",
    lying={"require": {"update": UpdateBounds(clip=CLIP / 2)}},
    honest={"require": {"update": UpdateBounds(clip=CLIP)}},
)
plan_lie(
    "clip-above-the-plan",
    Reason.PLAN,
    "This attempt clips at a larger norm than the plan says.",
    changes={"clip": 2 * CLIP},
)
plan_lie(
    "modulus-cut",
    Reason.MODULUS,
    "The modulus is too small: sums wrap and say something else.",
    changes={"modulus_bits": 4},
)
plan_lie(
    "a-committee-that-is-not-there",
    Reason.PLAN,
    "The plan commits to a committee, which this protocol does not have.",
    changes={"committee_root": b"c" * 32},
)
plan_lie(
    "one-attempt-too-many",
    Reason.ATTEMPTS,
    "A third attempt where the plan allows two.",
    changes={"attempt": 3},
)
plan_lie(
    "a-directory-that-the-plan-does-not-name",
    Reason.DIRECTORY_MISMATCH,
    "The directory sent along is signed, but is not the one in the plan.",
    changes={"directory": b"d" * 32},
)


@lie(Reason.POLICY_PROTOCOL)
def plain_offered(honest):
    """The protocol without protection is offered to a policy that asks for masking."""
    table = Table(aggregation=CURIOUS | {"protocol": "secagg" if honest else "plain"})
    script = table.script().invite()
    if honest:
        return script.finish()
    chunks = [b for b in script.volunteered.get("c0", ()) if isinstance(b, MaskedChunk)]
    bits = script.plan.modulus_bits
    shown = [from_residues(unpack(c.data, script.length, bits), bits).tolist() for c in chunks]
    return table.told(won=shown == [table.exact(["c0"])])


@lie(Reason.COHORT_PROOF)
def invited_from_outside_the_cohort(honest):
    """The client's place is proven against another root than the plan's."""
    table = Table()
    script = table.script()
    if honest:
        return script.invite().finish()
    other = table.cohort().memberships()[0]
    script.invite(["c0"], place=other)
    return table.told(won=script.adverts)


@lie(Reason.UNKNOWN_SENDER)
def invited_by_another_client(honest):
    """An invitation comes over a channel that is not the server's."""
    table = Table()
    script = table.script()
    if honest:
        return script.invite().finish()
    script.invite(["c0"], sender="c4")
    return table.told(won=script.adverts)


def with_directory(table, directory):
    cohort = table.cohort()
    plan = table.freeze(cohort, directory_object=directory)
    return table.script(plan, cohort).invite(directory=encode(directory))


@lie(Reason.DIRECTORY_SIGNATURE)
def directory_of_another_authority(honest):
    """The server signs a directory of its own."""
    table = Table()
    authority = table.authority if honest else SigningKey.from_seed(b"s" * 32)
    script = with_directory(table, table.sign_directory(1, authority))
    return script.finish() if honest else table.told(won=script.adverts)


@lie(Reason.DIRECTORY_STALE)
def directory_that_was_replaced(honest):
    """A directory of an epoch before the latest that was seen: a revoked key comes back."""
    table = Table()
    old, new = table.sign_directory(1), table.sign_directory(2)
    for store in table.stores.values():
        store.observe_directory(2, new.digest())
    script = with_directory(table, new if honest else old)
    return script.finish() if honest else table.told(won=script.adverts)


@lie(Reason.DIRECTORY_EQUIVOCATED)
def second_directory_for_one_epoch(honest):
    """A directory of an epoch that clients know with another content."""
    table = Table()
    known = table.sign_directory(1)
    for store in table.stores.values():
        store.observe_directory(1, known.digest())
    other = table.sign_directory(1, c9=SigningKey.from_seed(b"9" * 32).public)
    script = with_directory(table, known if honest else other)
    return script.finish() if honest else table.told(won=script.adverts)


@lie(Reason.NOT_ENROLLED)
def client_enrolled_with_another_key(honest):
    """The directory has somebody else's key under this client's name."""
    table = Table()
    if honest:
        return with_directory(table, table.sign_directory(1)).finish()
    stolen = table.sign_directory(1, c0=SigningKey.from_seed(b"9" * 32).public)
    cohort = table.cohort()
    plan = table.freeze(cohort, directory_object=stolen)
    script = table.script(plan, cohort).invite(["c0"], directory=encode(stolen))
    return table.told(won=script.adverts)


@lie(Reason.BROADCAST)
def another_model_than_the_plan_names(honest):
    """One client is sent another model under everyone's plan."""
    table = Table()
    script = table.script()
    if honest:
        return script.invite().finish()
    script.invite(["c0"], broadcast=lambda _: b"another model")
    return table.told(won=script.clients["c0"].broadcast == b"another model")


def split_plan(table, odd):
    """Client c0 under a plan of its own, everyone else under another."""
    cohort = table.cohort()
    plan = table.freeze(cohort)
    script = table.script(plan, cohort)
    return script, lambda name: msgspec.structs.replace(plan, **odd) if name == "c0" else plan


@lie(Reason.KEY_SIGNATURE)
def another_clip_for_one_client(honest):
    """One client's plan differs in one field that shapes its update."""
    table = Table()
    script, plans = split_plan(table, {} if honest else {"clip": CLIP / 4})
    script.invite(plan=plans)
    if honest:
        return script.finish()
    script.roster().deliver()
    odd = script.index("c0") in script.inputs
    script.survive().request()
    return table.told(won=odd and len(script.inputs) == 5 and script.answers)


@lie(Reason.KEY_SIGNATURE)
def another_learning_rate_for_one_client(honest):
    """One client trains on a broadcast of its own, under a plan that names it."""
    table = Table()
    if honest:
        return table.script().invite().finish()
    other = table.freeze(table.cohort(), broadcast=b"model, tenfold rate").broadcast
    script, plans = split_plan(table, {"broadcast": other})
    script.invite(
        plan=plans, broadcast=lambda n: b"model, tenfold rate" if n == "c0" else BROADCAST
    )
    script.roster().deliver()
    return table.told(won=len(script.inputs) == 5)
