"""Rounds over a few clients whose sums can be told exactly, for tests of rounds and transports.

Values are whole numbers and the fixed point has scale one, so that nothing is rounded and the
decoded sum is the integer sum.
"""

from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np

from fedprivacy.crypto import Directory, Identity, SigningKey
from fedprivacy.ledger import ClientStore
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import (
    ClientPolicy,
    Plan,
    RoundClient,
    RoundMember,
    RoundPlan,
    RoundServer,
)
from fedprivacy.rounds.sampling import draw_committee
from fedprivacy.secagg import Adversary, Cohort
from fedprivacy.transport import InProcess
from fedprivacy.vector import Update
from sumdrive import enrolled

RUN_ID = b"run-of-16-bytes!"
PLAN = """
schema = "fedprivacy/plan/1"

[dataset]
id = "ones"
unit = "client"

[aggregation]
protocol = "{protocol}"
adversary = "{adversary}"
min_clients = {min_clients}
corrupt = {corrupt}
threshold = {threshold}
degree = {degree}
dropout = {dropout}
attempts = {attempts}
{committee}
[update]
clip = {clip}
value_bits = {value_bits}
weights = "{weights}"
public_weight = {public_weight}
"""
NOISE = """
[noise]
trust = "{trust}"
mechanism = "{mechanism}"
noise_multiplier = {noise_multiplier}
epsilon = {epsilon}
delta = 1e-5
rounds = {rounds}

[sampling]
scheme = "{scheme}"
rate = {rate}
"""
POLICY = """
schema = "fedprivacy/policy/1"

[require.aggregation]
protocol = ["{protocol}"]
adversary = "{adversary}"
min_clients = {floor}
corrupt = 0
{more}
"""
BUDGET = """
[budget."{dataset}"]
epsilon = {epsilon}
delta = 1e-5
"""


def make_plan(
    adversary=Adversary.MALICIOUS,
    protocol="secagg",
    min_clients=3,
    corrupt=1,
    threshold=0,
    degree=0,
    dropout=0.0,
    attempts=2,
    weights="summed",
    max_clients_per_unit=1,
    value_bits=3,
    noise="",
    committee="",
):
    """`noise` is the text of the sections for it: `make_noise`; `committee` the keys of one."""
    if noise:
        weights = "uniform"
    return Plan.parse(
        PLAN.format(
            adversary=adversary.value,
            protocol=protocol,
            min_clients=min_clients,
            corrupt=corrupt,
            threshold=threshold,
            degree=degree,
            dropout=dropout,
            attempts=attempts,
            committee=f"[aggregation.committee]\n{committee}\n" if committee else "",
            # So that the scale is one.
            clip=float(2 ** (value_bits - 1) - 1),
            value_bits=value_bits,
            weights=weights,
            # Of a sample, as many as are drawn on average, or any other public number.
            public_weight=3 if "poisson" in noise else 0,
        )
        + f"max_clients_per_unit = {max_clients_per_unit}\n{noise}"
    )


def make_noise(
    trust="distributed",
    mechanism="skellam",
    noise_multiplier=4.0,
    epsilon=8.0,
    rounds=3,
    rate=1.0,
):
    return NOISE.format(
        trust=trust,
        mechanism=mechanism,
        noise_multiplier=noise_multiplier,
        epsilon=epsilon,
        rounds=rounds,
        scheme="all" if rate == 1.0 else "poisson",
        rate=rate,
    )


def make_budget(epsilon, dataset="ones", trust="server"):
    """What `make_policy` takes as `more`; who may be trusted with the noise stands beside it."""
    return f'[require.noise]\ntrust = "{trust}"\n' + BUDGET.format(epsilon=epsilon, dataset=dataset)


def rules_of(setting):
    """What `make_plan` takes for a setting: a ring of degree 4 may lose one of its six.

    The committee of one-shot aggregation has four, drawn from the clients.
    """
    graph = {"corrupt": 0, "dropout": 0.15} if setting.sparse else {}
    if setting.protocol == "oneshot":
        graph = {"committee": "size = 4\ncorrupt = 1"}
    return {"adversary": setting.adversary, "protocol": setting.protocol, **graph}


def house_of(setting, clients=5, policy=None, **rules):
    """Five clients, or six on a ring, under a plan for this setting."""
    named = {k: rules.pop(k) for k in ("seed", "store_at", "length") if k in rules}
    plan = make_plan(**rules_of(setting) | rules)
    return Consortium(clients + setting.sparse, plan=plan, policy=policy, **named)


def make_policy(adversary=Adversary.MALICIOUS, protocol="secagg", floor=3, more=""):
    return ClientPolicy.parse(
        POLICY.format(adversary=adversary.value, protocol=protocol, floor=floor, more=more)
    )


def update_of(number, length=8):
    """Entries of -1, 0 and 1: a norm below the clip."""
    draw = np.random.default_rng(number)
    return draw.integers(-1, 2, length).astype(np.float64)


class Forgetful:
    """A store that takes everything and keeps nothing but the authority."""

    def __init__(self):
        self._authority = None

    def pin_authority(self, public):
        self._authority = public

    def authority(self):
        return self._authority

    def close(self):
        pass

    def observe_directory(self, *_):
        pass

    def together(self):
        return nullcontext()

    begin = mark_spent = mark_answered = lambda *_, **__: None
    keep_head = keep_receipt = check_affordable = lambda *_, **__: None


@dataclass
class Consortium:
    """Enrolled clients with their stores, and the rounds that they take part in."""

    clients: int = 5
    plan: Plan = None
    policy: ClientPolicy = None
    length: int = 8
    broadcast: bytes = b"weights"
    seed: int = 1
    stores: dict = field(default_factory=dict)
    store_at: object = None
    """Makes a client's store from its name; by default one in memory."""
    clip: float | None = None
    """The norm in force; by default a run's first."""
    head: object = None
    """Makes the signed head of the server's ledger from the round's number."""

    def __post_init__(self):
        self.plan = self.plan or make_plan()
        adversary = self.plan.aggregation.adversary
        self.policy = self.policy or make_policy(adversary, self.plan.aggregation.protocol)
        known, _ = enrolled(self.clients)
        self.names, self.identities = tuple(known), dict(known)
        for name in self.plan.aggregation.committee.members:
            fresh = Identity.new(name, rng=InsecureTestRng(name.encode()))
            self.identities.setdefault(name, fresh)
        rng = InsecureTestRng(self.seed)
        self.rng = rng
        authority = SigningKey.from_seed(rng.bytes(32))
        keys = [(name, identity.key.public) for name, identity in self.identities.items()]
        self.directory = None
        if adversary is not Adversary.HONEST_BUT_CURIOUS:
            self.directory = Directory.sign(1, keys, authority)
        for name in self.identities:
            store = self.store_at(name) if self.store_at else ClientStore(":memory:")
            store.pin_authority(authority.public)
            self.stores[name] = store
        self.updates = {
            name: update_of((self.seed, i), self.length) for i, name in enumerate(self.names)
        }

    def close(self):
        for store in self.stores.values():
            store.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def cohort(self, number=1):
        return Cohort.of(self.names, rng=self.rng.child(f"cohort/{number}"))

    def committee(self, number=1):
        """Those whom the plan names, or a sample of the clients; None for other protocols."""
        rules = self.plan.aggregation.committee
        rng = self.rng.child(f"committee/{number}")
        if not rules.count:
            return None
        count = min(rules.count, len(self.names))
        drawn = rules.members or draw_committee(self.names, count, rng=rng)
        return Cohort.of(drawn, rng=rng.child("salts"))

    def round_plan(self, number=1, attempt=1):
        return RoundPlan.freeze(
            self.plan,
            self.cohort(number),
            run_id=RUN_ID,
            number=number,
            attempt=attempt,
            broadcast=self.broadcast,
            length=self.length,
            directory=self.directory,
            ledger_head=self.head(number).head if self.head else bytes(32),
            clip=self.clip,
            committee=self.committee(number),
            rng=self.rng.child(f"nonce/{number}/{attempt}"),
        )

    def server(self, number=1, attempt=1):
        plan = self.round_plan(number, attempt)
        rng = InsecureTestRng(f"graph/{self.seed}/{number}/{attempt}".encode())
        head = self.head(number) if self.head else None
        told = self.directory, self.broadcast
        opened_by = self.committee(number)
        return RoundServer(
            plan, self.cohort(number), *told, rng=rng, ledger=head, committee=opened_by
        )

    def client(self, name, number=1, attempt=1):
        return RoundClient(
            self.policy,
            self.identities[name],
            self.stores[name],
            rng=self.rng.child(f"client/{name}/{number}/{attempt}"),
        )

    def member(self, name, number=1, attempt=1):
        return RoundMember(
            self.policy,
            self.identities[name],
            self.stores[name],
            rng=self.rng.child(f"member/{name}/{number}/{attempt}"),
        )

    def members(self, number=1, attempt=1):
        """The committee's, by name; none for other protocols."""
        committee = self.committee(number)
        names = committee.members if committee else ()
        return {name: self.member(name, number, attempt) for name in names}

    def update(self, name, client=None):
        return Update(self.updates[name].copy())

    def attempts(self, number=1, **hooks):
        """Attempts at a round until one ends well, as a coordinator makes them; their outcomes."""
        out, outcomes = set(), []
        for attempt in range(1, self.plan.aggregation.attempts + 1):
            drive = self.drive(number, attempt, **hooks)
            outcome = drive.run([name for name in self.identities if name not in out])
            outcomes.append(outcome)
            if outcome.aggregate is not None or outcome.answers_requested:
                break
            out |= {*outcome.refused, *outcome.excluded, *outcome.error.culprits}
        return outcomes

    def drive(self, number=1, attempt=1, clients=None, **hooks):
        """One attempt at a round, all clients in it, not yet run."""
        clients = clients or {name: self.client(name, number, attempt) for name in self.names}
        hooks.setdefault("committee", self.members(number, attempt))
        return InProcess(self.server(number, attempt), clients, self.update, **hooks)

    def exact(self, survivors):
        return sum(self.updates[name] for name in survivors)

    def assert_exact(self, outcome):
        """The aggregate is the sum over the survivors, to the last bit."""
        assert outcome.aggregate.sum.tolist() == self.exact(outcome.survivors).tolist()
        assert outcome.aggregate.weight == len(outcome.survivors)


def noisy_house(clients=5, policy=None, **plan):
    """Clients under a plan with noise, masked and against a malicious server if not told else."""
    noise = plan.pop("noise", None) or make_noise()
    named = {key: plan.pop(key) for key in ("seed", "length", "head") if key in plan}
    return Consortium(clients, plan=make_plan(noise=noise, **plan), policy=policy, **named)
