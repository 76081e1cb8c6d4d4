"""Plans, policies and invitations with a few things wrong, drawn for both sides of a round."""

import math

import msgspec
from hypothesis import strategies as st

from fedprivacy.crypto import Directory, SigningKey
from fedprivacy.ledger import SignedHead
from fedprivacy.rounds import Invitation, Plan
from fedprivacy.secagg import COMMITTEES, PROTOCOLS, SERVER, SHARED_KEYS, Adversary, Cohort
from fedprivacy.wire import encode
from round_sides import package_plan, reference, vector_of, verdict

# ------------------------------------------------------------------ plans and policies

ELSEWHERE = {*COMMITTEES, *SHARED_KEYS}
COMPLETE = [n for n, p in PROTOCOLS.items() if not p.sparse and n not in ELSEWHERE]
CHANGES = {
    "version": st.sampled_from([1, 1, 1, 2]),
    "attempt": st.integers(1, 4),
    "cohort_size": st.integers(1, 8),
    "length": st.sampled_from([1, 4, 1 << 32, (1 << 32) + 1]),
    "clip": st.sampled_from([3.0, 3.0, 2.0, 0.0, -1.0, 1e-101, 1e101, math.inf, math.nan]),
    "threshold": st.integers(1, 9),
    "degree": st.sampled_from([0, 0, 2]),
    "modulus_bits": st.integers(1, 62),
    "round": st.sampled_from([1, 4]),
    "committee_root": st.sampled_from([bytes(32)] * 3 + [b"c" * 32]),
    "ledger_head": st.sampled_from([bytes(32)] * 3 + [b"l" * 32]),
}
RULES = {
    "aggregation": {
        # Those of a ring, a committee and a shared key are compared in protocols of their own.
        "protocol": st.sampled_from([*COMPLETE, "telepathy"]),
        "suite": st.sampled_from([next(iter(reference.SUITES))] * 4 + ["rot13"]),
        "adversary": st.sampled_from([a.value for a in Adversary]),
        "min_clients": st.integers(1, 9),
        "corrupt": st.integers(0, 4),
        "threshold": st.integers(0, 9),
        "degree": st.sampled_from([0, 0, 2]),
        "dropout": st.floats(0.0, 1.0, exclude_max=True) | st.sampled_from([1 / 3, 0.2, 0.7]),
        "attempts": st.integers(1, 4),
    },
    "update": {
        "clip": st.sampled_from([3.0, 3.0, 1e120, math.inf, 1e-120]),
        "value_bits": st.integers(2, 32),
        "weights": st.sampled_from(["uniform", "summed"]),
        "public_weight": st.sampled_from([0, 0, 7]),
        "max_units_per_client": st.sampled_from([1, 3, (1 << 31) - 1]),
        "max_clients_per_unit": st.sampled_from([1, 2, (1 << 31) - 1]),
    },
    "sampling": {
        "scheme": st.sampled_from(["all", "all", "poisson"]),
        "rate": st.sampled_from([1.0, 0.5]),
    },
    "dataset": {
        "unit": st.sampled_from(["client", "patient"]),
        "adjacency": st.sampled_from(["add-or-remove-one", "replace-one"]),
    },
}
NOISE = st.fixed_dictionaries(
    {
        "trust": st.sampled_from(["server", "distributed", "client"]),
        "mechanism": st.sampled_from(["skellam", "discrete-gaussian"]),
        "noise_multiplier": st.sampled_from([0.7, 4.0, 1e-3, 2e6, 0.0, math.inf])
        | st.floats(1e-6, 1e6),
        "epsilon": st.sampled_from([2.0, 2.0, 0.0, math.inf]),
        "delta": st.sampled_from([1e-5, 1e-5, 0.0]),
        "rounds": st.sampled_from([3, 3, 0]),
    }
)
"""A `[noise]` as it is where there is noise; its parts one by one make no plan."""
WANTED = {
    "aggregation": {
        "protocol": st.sampled_from([["plain", "secagg"], ["secagg"], []]),
        "suite": st.sampled_from([list(reference.SUITES), list(reference.SUITES), ["other"]]),
        "adversary": st.sampled_from([a.value for a in Adversary]),
        "min_clients": st.integers(2, 6),
        "corrupt": st.integers(0, 3),
        "threshold": st.integers(0, 6),
    },
    "dataset": {
        "id": st.sampled_from(["", "ones", "twos"]),
        "unit": st.sampled_from(["", "client", "patient"]),
        "adjacency": st.sampled_from([None, "replace-one"]),
    },
    "update": {
        "clip": st.sampled_from([0.0, 2.5, 3.0]),
        "value_bits": st.sampled_from([0, 2, 3]),
        "max_units_per_client": st.sampled_from([0, 2]),
        "least_units_per_client": st.sampled_from([0, 2, 3]),
    },
    "noise": {
        "trust": st.sampled_from(reference.TRUSTS),
        "noise_multiplier": st.sampled_from([0.0, 1.0]),
        "epsilon": st.sampled_from([0.0, 1.0, 2.0]),
        "delta": st.sampled_from([0.0, 1e-6, 1e-5]),
    },
}


CURIOUS_POLICY = {
    "protocol": ["plain", "secagg"],
    "adversary": "honest-but-curious",
    "min_clients": 2,
    "corrupt": 0,
}
"""A policy's `[aggregation]` that the vectors' plans are not below."""


def few_of(fields, most=2):
    """Values for at most so many of these fields, so that the last checks are reached, too."""
    names = st.lists(st.sampled_from(sorted(fields)), max_size=most, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({n: fields[n] for n in chosen}))


def told_plan(changes, rules, follows):
    """A round plan with these changes; what is derived follows from them, or does not."""
    attempt = vector_of("ok_masked_signed")["attempts"][0]
    plan = msgspec.to_builtins(package_plan(attempt["round_plan"]).plan)
    for section, values in rules.items():
        plan[section] = plan[section] | values
    told = msgspec.structs.replace(
        package_plan(attempt["round_plan"]), **changes | {"plan": msgspec.convert(plan, Plan)}
    )
    if not follows:
        return told
    theirs = reference.RoundPlan.read(reference.unpack(encode(told)))
    bits = verdict(lambda: reference.Pipeline(theirs).modulus_bits(told.cohort_size))
    bits = bits if isinstance(bits, int) else 1
    derived = {"modulus_bits": bits}
    if told.plan.aggregation.protocol in COMPLETE:
        quorum = told.plan.quorum(told.cohort_size)
        derived |= {"threshold": quorum.threshold, "degree": quorum.degree}
    return msgspec.structs.replace(told, **derived)


# ------------------------------------------------------------------ invitations

AUTHORITY, IMPOSTOR = (SigningKey.from_seed(bytes([i]) * 32) for i in (1, 2))
BEFORE = {
    "nothing": None,
    "later-directory": ("directory", {"epoch": 4, "digest": bytes(32)}),
    "other-directory": ("directory", {"epoch": 3, "digest": bytes(32)}),
    "begun": ("begin", {"round": 1, "attempt": 1, "terms": bytes(32)}),
    "later-round": ("begin", {"round": 2, "attempt": 1, "terms": bytes(32)}),
    "answered": (
        "answered",
        {"round": 1, "broadcast": bytes(32), "survivors": ["a", "b"], "floor": 2},
    ),
}
HONEST_INVITATION = {
    "changes": {},
    "wanted": {},
    "curious": False,
    "place": "c000",
    "epoch": 3,
    "signer": AUTHORITY,
    "enrolled": True,
    "pinned": True,
    "unread": None,
    "broadcast": b"a model's weights",
    "ledger": b"",
    "before": "nothing",
    "sender": SERVER,
}
LIES = {
    "changes": few_of(
        {
            "version": st.just(2),
            "attempt": st.sampled_from([2, 3]),
            "threshold": st.just(3),
            "clip": st.just(4.0),
            "modulus_bits": st.just(6),
            "directory": st.sampled_from([bytes(32), b"d" * 32]),
            "directory_epoch": st.just(9),
        }
    ),
    "wanted": few_of(
        {
            "adversary": st.just("malicious"),
            "protocol": st.just(["plain"]),
            "min_clients": st.just(3),
            "threshold": st.just(3),
        }
    ),
    "curious": st.just(True),
    "place": st.sampled_from(["c001", "elsewhere"]),
    "signer": st.just(IMPOSTOR),
    "enrolled": st.just(False),
    "pinned": st.just(False),
    "unread": st.sampled_from([b"", b"\x90"]),
    "broadcast": st.just(b"another"),
    "ledger": st.sampled_from(
        [b"\x90", encode(SignedHead.sign(AUTHORITY, bytes(16), 0, bytes(32)))]
    ),
    "before": st.sampled_from(sorted(BEFORE)),
    "sender": st.just("c001"),
}


def told_invitation(attempt, lies):
    """The attempt's invitation to c000, with these lies in it."""
    salts = {name: bytes.fromhex(salt) for name, salt in attempt["cohort"]}
    places = Cohort(tuple(salts), tuple(salts.values())).memberships()
    elsewhere = msgspec.structs.replace(places[0], salt=bytes(32))
    place = {p.client_id: p for p in places}.get(lies["place"], elsewhere)
    plan = package_plan(attempt["round_plan"])
    entries = [(p.client_id, bytes([9 + p.index]) * 32) for p in places]
    entries[0] = ("c000", IDENTITY.public if lies["enrolled"] else entries[0][1])
    directory = Directory.sign(lies["epoch"], entries, lies["signer"])
    told = {"directory": directory.digest(), "directory_epoch": directory.epoch}
    if lies["curious"]:
        rules = msgspec.structs.replace(
            plan.plan.aggregation, adversary=Adversary.HONEST_BUT_CURIOUS
        )
        told = {"plan": msgspec.structs.replace(plan.plan, aggregation=rules)}
        told |= {"directory": bytes(32), "directory_epoch": 0}
    plan = msgspec.structs.replace(plan, **told | lies["changes"])
    data = b"" if lies["curious"] else encode(directory)
    data = data if lies["unread"] is None else lies["unread"]
    return encode(Invitation(plan, place, data, lies["broadcast"], lies["ledger"]))


IDENTITY = SigningKey.from_seed(b"i" * 32)
ENTRY = {
    "client_id": "c000",
    "identity_seed": (b"i" * 32).hex(),
    "budget": {},
    "accounts": {"all_rounds": None, "holds": None},
}
