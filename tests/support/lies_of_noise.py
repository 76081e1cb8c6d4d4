"""Lies about the noise in a plan, the ledger that it is charged in, and a client's own budget."""

import msgspec

from fedprivacy.crypto import SigningKey
from fedprivacy.errors import Reason
from fedprivacy.ledger import SignedHead
from fedprivacy.rounds.policy import NoiseFloor
from fedprivacy.rounds.rules import Trust
from fedprivacy.secagg import Adversary
from fedprivacy.vector import Weights
from fedprivacy.wire import encode
from lie_registry import lie
from lies_of_plans import plan_lie, split_plan
from lying_server import LENGTH, Table

NOISE = {
    # Clients send what they have: an honest sum is exact, since this server adds nothing.
    "trust": Trust.SERVER,
    "noise_multiplier": 4.0,
    "epsilon": 8.0,
    "delta": 1e-5,
    "rounds": 3,
}
UNIFORM = {"weights": Weights.UNIFORM}
TRUSTING = {"noise": NoiseFloor(trust=Trust.SERVER)}
DATA = {"data": {"epsilon": 9.0, "delta": 1e-5}}
ONE_ROUND = {"data": {"epsilon": 1.2, "delta": 1e-5}}
"""At a noise multiplier of 4, one round costs about 1.0 and two about 1.5."""


def noisy(**changes):
    """A table whose plan has noise."""
    noise = NOISE | changes.pop("noise", {})
    return {"noise": noise, "update": UNIFORM, **changes}


plan_lie(
    "less-noise-than-the-policy-asks-for",
    Reason.POLICY_NOISE,
    "The plan's noise is below the client's floor.",
    lying=noisy(require={"noise": NoiseFloor(noise_multiplier=4.5)}),
    honest=noisy(require={"noise": NoiseFloor(noise_multiplier=4.0)}),
)
plan_lie(
    "the-servers-noise-for-the-clients",
    Reason.POLICY_NOISE,
    "The server is to add the noise, where the client asks for its own.",
    lying=noisy(require={"noise": NoiseFloor(trust=Trust.DISTRIBUTED)}),
    honest=noisy(require={"noise": NoiseFloor(trust=Trust.SERVER)}),
)
plan_lie(
    "a-larger-epsilon-than-the-policy-allows",
    Reason.POLICY_NOISE,
    "All rounds are to cost more than the client allows.",
    lying=noisy(require={"noise": NoiseFloor(epsilon=7.0)}),
    honest=noisy(require={"noise": NoiseFloor(epsilon=8.0)}),
)
plan_lie(
    "an-epsilon-that-the-noise-does-not-keep",
    Reason.POLICY_NOISE,
    "The plan says an epsilon that the client allows; its noise gives ten times as much.",
    lying=noisy(noise={"epsilon": 0.2}, require={"noise": NoiseFloor(epsilon=0.2)}),
    honest=noisy(require={"noise": NoiseFloor(epsilon=8.0)}),
)
plan_lie(
    "noise-and-a-weight-without-any",
    Reason.PLAN,
    "Weights are summed beside the noise, and none is added to them.",
    lying={"noise": NOISE},
    honest=noisy(),
)
plan_lie(
    "an-epsilon-of-nobodys-noise",
    Reason.PLAN,
    "The plan names an epsilon, and nobody adds noise.",
    lying={"noise": {"epsilon": 1.0}},
)
plan_lie(
    "noise-that-nobody-can-draw",
    Reason.PLAN,
    "The server says that it adds more noise than its samplers draw.",
    changes={"modulus_bits": 11},
    lying=noisy(noise={"noise_multiplier": 2e6}),
    honest=noisy(),
)
plan_lie(
    "all-at-a-rate-of-a-half",
    Reason.PLAN,
    "All are asked, and privacy is counted as if chance had picked them.",
    lying={"sampling": {"rate": 0.5}},
)
plan_lie(
    "one-round-more-than-the-noise-is-for",
    Reason.PLAN,
    "A fourth round under a plan whose epsilon is that of three.",
    changes={"round": 4},
    lying=noisy(),
    honest=noisy(),
)
plan_lie(
    "the-data-set-under-another-name",
    Reason.POLICY_DATASET,
    "The plan calls the data otherwise than the client's budget does.",
    lying=noisy(budget={"my data": {"epsilon": 9.0, "delta": 1e-5}}, require=TRUSTING),
    honest=noisy(budget=DATA, require=TRUSTING),
)
plan_lie(
    "an-exact-sum-of-what-has-a-budget",
    Reason.POLICY_NOISE,
    "No noise is added to a sum over data that have a budget.",
    lying={"budget": DATA},
)
plan_lie(
    "a-server-that-asks-to-be-trusted",
    Reason.POLICY_NOISE,
    "The server says that it adds the noise, and the client's budget is to believe it.",
    lying=noisy(budget=DATA),
    honest=noisy(budget=DATA, require=TRUSTING),
)
plan_lie(
    "a-mean-over-a-hidden-sample",
    Reason.PLAN,
    "Privacy counts on a sample's size, which every mean tells.",
    lying=noisy(sampling={"scheme": "poisson", "rate": 0.5}),
    honest=noisy(
        sampling={"scheme": "poisson", "rate": 0.5}, update=UNIFORM | {"public_weight": 5}
    ),
)
plan_lie(
    "a-rate-that-no-coin-has",
    Reason.PLAN,
    "Whoever is drawn is said to have been drawn by next to no chance.",
    lying=noisy(
        sampling={"scheme": "poisson", "rate": 1e-200}, update=UNIFORM | {"public_weight": 5}
    ),
    honest=noisy(
        sampling={"scheme": "poisson", "rate": 2.0**-53}, update=UNIFORM | {"public_weight": 5}
    ),
)


@lie(Reason.PLAN)
def a_share_of_noise_in_the_open(honest):
    """Each client adds a share only, and the protocol has no masks: each vector is seen."""
    rules = {"protocol": "plain", "adversary": Adversary.HONEST_BUT_CURIOUS}
    floor = {"protocol": ("plain", "secagg")}
    if honest:
        return Table(**noisy()).script().invite().finish()
    table = Table(aggregation=rules, floor=floor, **noisy(noise={"trust": Trust.DISTRIBUTED}))
    script = table.script().invite()
    return table.told(won=script.volunteered.get("c0"))


@lie(Reason.MODULUS)
def no_room_for_noise(honest):
    """The modulus is that of the values alone: a sum with noise wraps."""
    if honest:
        return Table(**noisy()).script().invite().finish()
    table = Table(**noisy(noise={"trust": Trust.DISTRIBUTED}))
    bits = Table(**noisy()).plan.pipeline(LENGTH, 5).modulus_bits(5)
    cohort = table.cohort()
    script = table.script(table.freeze(cohort, modulus_bits=bits), cohort).invite()
    return table.told(won=script.adverts)


@lie(Reason.KEY_SIGNATURE)
def less_noise_for_one_client(honest):
    """One client is told of less noise than all others are, and adds no more than that."""
    if honest:
        return Table(**noisy()).script().invite().finish()
    table = Table(**noisy(noise={"trust": Trust.DISTRIBUTED}))
    less = msgspec.structs.replace(table.plan.noise, noise_multiplier=3.9)
    script, plans = split_plan(table, {"plan": msgspec.structs.replace(table.plan, noise=less)})
    script.invite(plan=plans)
    script.roster().deliver()
    odd = script.index("c0") in script.inputs
    script.survive().request()
    return table.told(won=odd and len(script.inputs) == 5 and script.answers)


# ---------------------------------------------------------------------- the ledger's head


def head_of(table, number=1, head=b"h" * 32):
    return SignedHead.sign(table.operator, b"ledger-16-bytes!", number, head)


def with_head(table, named, told, number=1):
    """An invitation to a plan that names a head, and comes with bytes."""
    cohort = table.cohort()
    plan = table.freeze(cohort, number=number, ledger_head=named.head)
    return table.script(plan, cohort).invite(ledger=told)


@lie(Reason.PLAN)
def a_head_that_nobody_signed(honest):
    """The row's number is changed after the head was signed: it would contradict nothing."""
    table = Table(**noisy())
    head = head_of(table)
    told = head if honest else msgspec.structs.replace(head, number=7)
    script = with_head(table, head, encode(told))
    return script.finish() if honest else table.told(won=script.adverts)


@lie(Reason.PLAN)
def another_head_than_the_plan_names(honest):
    """Everybody is sent a head that is signed; the round is bound to another one."""
    table = Table(**noisy())
    head = head_of(table)
    told = head if honest else head_of(table, head=b"i" * 32)
    script = with_head(table, head, encode(told))
    return script.finish() if honest else table.told(won=script.adverts)


@lie(Reason.PLAN)
def a_ledger_of_nothing(honest):
    """The plan names a ledger's head, where no noise is added and nothing is charged."""
    table = Table(**(noisy() if honest else {}))
    head = head_of(table)
    script = with_head(table, head, encode(head))
    return script.finish() if honest else table.told(won=script.adverts)


@lie(Reason.RECEIPT_CHANGED)
def a_row_of_the_ledger_rewritten(honest):
    """A second head for one row: what was spent there is taken back."""
    table = Table(**noisy())
    first = head_of(table)
    with_head(table, first, encode(first))
    second = head_of(table, 2 if honest else 1, b"i" * 32)
    script = with_head(table, second, encode(second), number=2)
    return script.finish() if honest else table.told(won=script.adverts)


def with_receipt(honest, lie):
    """A round whose plan names row 3, and a receipt of row 5, or the one that `lie` makes of it."""
    table = Table(**noisy())
    before, after = head_of(table, 3), head_of(table, 5, b"i" * 32)
    script = with_head(table, before, encode(before))
    told = after if honest else lie(table, after)
    script.settle(told)
    kept = any(told in store.heads() for store in table.stores.values())
    return script.finish() if honest else table.told(won=kept)


@lie(Reason.RECEIPT_CHANGED)
def a_receipt_by_another_operator(honest):
    """What was settled is signed by somebody whom the next ledger need not agree with."""
    other = SigningKey.from_seed(b"x" * 32)

    def by_other(_, after):
        return SignedHead.sign(other, after.ledger, after.number, after.head)

    return with_receipt(honest, by_other)


@lie(Reason.RECEIPT_CHANGED)
def a_receipt_of_an_earlier_row(honest):
    """What the round told is not in the rows that its receipt commits to."""
    return with_receipt(honest, lambda table, after: head_of(table, 2, after.head))


@lie(Reason.MALFORMED)
def a_receipt_that_nobody_signed(honest):
    """Its row was changed after it was signed: it is no evidence of anything."""
    return with_receipt(honest, lambda _, after: msgspec.structs.replace(after, number=6))


# ---------------------------------------------------------------------- the client's budget


@lie(Reason.BUDGET)
def one_round_more_than_the_budget_holds(honest):
    """A second round, under a run id of its own, of data whose budget holds one."""
    table = Table(budget=ONE_ROUND, require=TRUSTING, **noisy())
    first = table.script().invite()
    if honest:
        return first.finish()
    first.roster().deliver()
    cohort = table.cohort()
    second = table.script(table.freeze(cohort, run=b"s" * 16), cohort).invite()
    second.roster().deliver()
    return table.told(won=len(second.inputs) == 5)


@lie(Reason.BUDGET)
def a_later_attempt_beyond_the_budget(honest):
    """Clients are first asked at the second attempt: the round was not charged at another.

    Its twin is a second attempt at the round that was charged already.
    """
    table = Table(budget=ONE_ROUND, require=TRUSTING, **noisy())
    cohort = table.cohort()
    first = table.script(table.freeze(cohort), cohort).invite().roster().deliver()
    if honest:
        return table.script(table.freeze(cohort, attempt=2), cohort).invite().finish()
    second = table.script(table.freeze(cohort, number=2, attempt=2), cohort).invite()
    second.roster().deliver()
    return table.told(won=first.inputs and second.inputs)
