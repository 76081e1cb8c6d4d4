"""A server that holds every string: it talks to real clients message by message, as it likes.

The clients are whole: policy, identity, store, directory. The server here shares none of the honest
server's code; what it gathers it unmasks by itself, from whatever secrets it got hold of.
"""

import contextlib
from dataclasses import dataclass, field

import msgspec
import numpy as np

from fedprivacy.arithmetic import PackedSum, pack, reconstruct, share_from_bytes
from fedprivacy.crypto import Directory, Identity, KeyPair, SigningKey
from fedprivacy.errors import (
    BudgetExhausted,
    ConfigurationError,
    PeerError,
    PolicyRefused,
    Reason,
)
from fedprivacy.ledger import ClientStore
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import (
    ClientPolicy,
    Envelope,
    Invitation,
    Plan,
    Refusal,
    RoundClient,
    Settled,
)
from fedprivacy.rounds.policy import AggregationFloor, BudgetLimit, Requirements
from fedprivacy.rounds.round_plan import RoundPlan
from fedprivacy.rounds.rules import (
    AggregationRules,
    DatasetRules,
    NoiseRules,
    SamplingRules,
    UpdateRules,
)
from fedprivacy.secagg import SERVER, Adversary, Cohort, Send
from fedprivacy.secagg.masking import messages as m
from fedprivacy.secagg.masking.keys import (
    SURVIVORS_LABEL,
    Secret,
    pairwise_seed,
    self_seed,
    session_id,
    signed_survivors,
)
from fedprivacy.secagg.masking.masks import Term, add_terms
from fedprivacy.secagg.plain import PlainInput
from fedprivacy.secagg.uploads import MaskedChunk, Uploads
from fedprivacy.vector import Update, Weights
from fedprivacy.wire import decode, encode

BODIES = (
    m.KeyAdvertisement
    | m.SealedShares
    | MaskedChunk
    | m.MaskedInput
    | m.AcknowledgedInput
    | m.ConsistencySignature
    | m.InclusionSignatures
    | m.UnmaskShares
    | PlainInput
)
LENGTH = 4
CLIP = 127.0
"""With eight bits the scale is one: whole numbers are encoded exactly."""
BROADCAST = b"model, learning rate"
EASY = {"protocol": "secagg", "threshold": 0, "degree": 0, "dropout": 0.0} | {
    "min_clients": 2,
    "corrupt": 0,
}
"""Rules that an honest server freezes for any cohort."""


@dataclass
class Told:
    """What came of it."""

    refusals: list
    """Of clients, in order: (name, reason)."""
    won: bool = False
    """The server got what the lie was for."""
    exact: bool = False
    """A sum came out, and it is the sum of the survivors' vectors."""

    @property
    def reasons(self):
        return {reason for _, reason in self.refusals}


@dataclass
class Table:
    """Clients c0, c1, ... with identities, stores and a policy, and the plan that they get."""

    clients: int = 5
    enrolled: int = 0
    """Identities in the directory, where that are more than the clients."""
    aggregation: dict = field(default_factory=dict)
    update: dict = field(default_factory=dict)
    floor: dict = field(default_factory=dict)
    require: dict = field(default_factory=dict)
    noise: dict = field(default_factory=dict)
    sampling: dict = field(default_factory=dict)
    budget: dict = field(default_factory=dict)
    """A client's own, by data set: epsilon and delta."""
    store: object = None
    """Makes a client's store."""

    def __post_init__(self):
        self.rng = InsecureTestRng(b"table")
        self.names = tuple(f"c{i}" for i in range(self.clients))
        everyone = tuple(f"c{i}" for i in range(max(self.clients, self.enrolled)))
        self.identities = {n: Identity.new(n, rng=self.rng) for n in everyone}
        self.authority = SigningKey.from_seed(self.rng.bytes(32))
        self.directory = self.sign_directory(1)
        rules = {
            "protocol": "secagg",
            "adversary": Adversary.MALICIOUS,
            "min_clients": 3,
            "corrupt": 1,
            **self.aggregation,
        }
        self.plan = Plan(
            schema="fedprivacy/plan/1",
            dataset=DatasetRules(id="data", unit="client"),
            aggregation=AggregationRules(**rules),
            update=UpdateRules(**{"clip": CLIP, "value_bits": 8, **self.update}),
            noise=NoiseRules(**self.noise),
            sampling=SamplingRules(**self.sampling),
        )
        least = {
            "min_clients": rules["min_clients"],
            "corrupt": rules["corrupt"],
            "adversary": rules["adversary"],
            **self.floor,
        }
        self.policy = ClientPolicy(
            require=Requirements(aggregation=AggregationFloor(**least), **self.require),
            budget={name: BudgetLimit(**limit) for name, limit in self.budget.items()},
        )
        self.operator = SigningKey.from_seed(self.rng.bytes(32))
        self.stores = {n: (self.store or (lambda _: ClientStore(":memory:")))(n) for n in everyone}
        for store in self.stores.values():
            store.pin_authority(self.authority.public)
        draw = np.random.default_rng(7)
        self.vectors = {n: draw.integers(-30, 31, LENGTH) for n in everyone}
        self.refusals = []
        self.opened = 0

    @property
    def signs(self):
        return self.plan.aggregation.adversary is not Adversary.HONEST_BUT_CURIOUS

    def sign_directory(self, epoch, authority=None, **changes):
        entries = {n: i.key.public for n, i in self.identities.items()} | changes
        kept = [(n, key) for n, key in entries.items() if key is not None]
        return Directory.sign(epoch, kept, authority or self.authority)

    def cohort(self, *names):
        return Cohort.of(names or self.names, rng=self.rng)

    def client(self, name):
        """A new client under this name, for one attempt."""
        self.opened += 1
        rng = self.rng.child(f"{name}/{self.opened}")
        return RoundClient(self.policy, self.identities[name], self.stores[name], rng=rng)

    def broadcast_of(self, text=BROADCAST):
        """What is broadcast to clients that train on this."""
        return text

    def freeze(self, cohort, *, number=1, attempt=1, run=b"r" * 16, broadcast=BROADCAST, **changes):
        """A plan as an honest server freezes it, and then changed."""
        n, rules = len(cohort.members), self.plan.aggregation
        directory = changes.pop("directory_object", self.directory) if self.signs else None
        plan = RoundPlan.freeze(
            # What the honest server would not freeze at all is put in afterwards.
            msgspec.structs.replace(
                self.plan,
                aggregation=msgspec.structs.replace(rules, **EASY),
                noise=NoiseRules(),
            ),
            cohort,
            run_id=run,
            number=number,
            attempt=attempt,
            broadcast=self.broadcast_of(broadcast),
            length=LENGTH,
            directory=directory,
            rng=self.rng,
        )
        quorum = self.plan.quorum(n)
        chosen = {"threshold": quorum.threshold, "degree": quorum.degree}
        with contextlib.suppress(ConfigurationError):  # nothing follows from some lies
            chosen["modulus_bits"] = self.plan.pipeline(LENGTH, n).modulus_bits(n)
        return msgspec.structs.replace(plan, **{"plan": self.plan} | chosen | changes)

    def script(self, plan=None, cohort=None, **named):
        cohort = cohort or self.cohort()
        return Script(self, plan or self.freeze(cohort, **named), cohort)

    def exact(self, members):
        """The sum of these clients' vectors; where it is summed, the number of clients last."""
        total = sum(self.vectors[n] for n in members).tolist()
        return [*total, len(members)] if self.plan.update.weights is Weights.SUMMED else total

    def told(self, *, won=False, exact=False):
        return Told(self.refusals, won=bool(won), exact=bool(exact))


class Script:
    """One attempt at one round, told step by step; each step says who answered it with what.

    `to` limits a step to some clients. What differs between clients is given as a function of the
    name.
    """

    def __init__(self, table, plan, cohort):
        self.table, self.plan, self.cohort = table, plan, cohort
        self.places = {p.client_id: p for p in cohort.memberships()}
        self.clients = {}
        self.entries = ()
        self.adverts, self.dealt, self.inputs, self.complaints = {}, {}, {}, {}
        self.signatures, self.answers, self.shown, self.dealers = {}, {}, {}, {}
        self.volunteered = {}
        """What clients say when their vector is ready, before they are asked for it."""
        self.mask_keys = {}
        """Mask keys of the corrupt, which they tell the server, by index."""

    # ------------------------------------------------------------------ steps

    def invite(
        self,
        to=None,
        *,
        plan=None,
        broadcast=None,
        directory=None,
        place=None,
        ledger=b"",
        sender=SERVER,
        untrained=(),
    ):
        for name in self.cohort.members if to is None else to:
            if name not in self.table.stores:
                continue
            offered = plan(name) if plan else self.plan
            data = directory if directory is not None else self._directory()
            sent = self.table.broadcast_of(broadcast(name) if broadcast else BROADCAST)
            self.clients[name] = self.table.client(name)
            message = encode(Invitation(offered, place or self.places[name], data, sent, ledger))
            for body in self._hear(name, message, sender):
                self.adverts[name] = body
            if self.clients[name].round_plan is not None and name not in untrained:
                self.train(name)
        return self

    def train(self, name):
        """A client's vector is ready."""
        update = Update(self.table.vectors[name].astype(np.float64))
        self.volunteered[name] = self._collect(name, self.clients[name].contribute(update))

    def wake(self, name, sealed):
        """A client goes on from this sealed state, if it takes it."""
        table = self.table
        table.opened += 1
        rng = table.rng.child(f"{name}/{table.opened}")
        known = table.policy, table.identities[name], table.stores[name]
        try:
            self.clients[name] = RoundClient.resume(sealed, *known, rng=rng)
        except PeerError as error:
            self.table.refusals.append((name, error.reason))
            return False
        return True

    def _directory(self):
        return encode(self.table.directory) if self.table.signs else b""

    def honest_entries(self, names=None):
        return tuple(
            m.RosterEntry(self.places[n], a.seal_key, a.mask_key, a.signature)
            for n, a in sorted(self.adverts.items(), key=lambda item: self.places[item[0]].index)
            if names is None or n in names
        )

    def roster(self, entries=None, to=None):
        self.entries = self.honest_entries()
        for name in self._present(to, self.adverts):
            shown = entries(name) if entries else self.entries
            for body in self._say(name, m.Roster(shown)):
                self.dealt[name] = body
        return self

    def boxes_for(self, name, dealers=None):
        """The delivery of an honest relay."""
        place = [e.membership.client_id for e in self.entries].index(name)
        return tuple(
            m.SealedBox(self.index(d), body.boxes[place].box, body.boxes[place].commitments)
            for d, body in sorted(self.dealt.items(), key=lambda item: self.index(item[0]))
            if dealers is None or d in dealers
        )

    def deliver(self, boxes=None, to=None):
        for name in self._present(to, self.dealt):
            shown = boxes(name) if boxes else self.boxes_for(name)
            self.dealers[name] = {box.peer for box in shown}
            self._take_input(name, self._say(name, m.ShareDelivery(shown)))
        return self

    def _take_input(self, name, bodies):
        uploads, index = Uploads(self.plan.sum_plan()), self.index(name)
        for body in bodies:
            if isinstance(body, MaskedChunk):
                uploads.take(index, body)
                continue
            uploads.fold(index, body.checksum)
            self.inputs[index] = uploads.total.residues(0, self.length)
            if body.unopened:
                self.complaints[name] = body.unopened

    def survive(self, survivors=None, to=None):
        """Shows a survivor set, by names; where nobody signs, it is answered with shares."""
        for name in self._present(to, self.dealers):
            shown = survivors(name) if callable(survivors) else survivors
            told = tuple(
                sorted(self.index(n) for n in (self._with_input() if shown is None else shown))
            )
            self.say_survivors(name, encode(m.SurvivorSet(told)), set(told))
        return self

    def say_survivors(self, name, message, told):
        for body in self._say(name, message):
            self.shown[name] = told
            if isinstance(body, m.ConsistencySignature):
                self.signatures[name] = body.signature
            else:
                self._take_answer(name, body, told)

    def signed_by(self, *names):
        return tuple(
            m.SurvivorSignature(self.index(n), self.signatures[n])
            for n in sorted(names or self.signatures, key=self.index)
        )

    def sign_as(self, name, survivors):
        """A corrupt client's signature over a survivor set, by names."""
        told = sorted(self.index(n) for n in survivors)
        statement = signed_survivors(self.session, self.plan.broadcast, told)
        key = self.table.identities[name].key
        return m.SurvivorSignature(self.index(name), key.sign(SURVIVORS_LABEL, *statement))

    def request(self, signatures=None, to=None):
        for name in self._present(to, self.signatures):
            shown = signatures(name) if signatures else self.signed_by()
            for body in self._say(name, m.UnmaskRequest(shown)):
                self._take_answer(name, body, self.shown[name])
        return self

    def _take_answer(self, name, answer, survivors):
        for opened in answer.shares:
            secret = Secret.SEED if opened.dealer in survivors else Secret.MASK_KEY
            held = self.answers.setdefault((opened.dealer, secret), {})
            held[self.index(name)] = share_from_bytes(opened.share, 9)

    def settle(self, head):
        """Gives everyone a receipt, whether or not anything was settled."""
        for name in self.clients:
            self._hear(name, encode(Settled(self.plan.round_id, encode(head))))
        return self

    def finish(self):
        """The rest of an honest round, from wherever it stands; what came of it."""
        if not self.dealt:
            self.roster()
        if not self.inputs:
            self.deliver()
        if not self.shown:
            self.survive()
        if self.table.signs and not self.answers:
            self.request()
        members = self._with_input()
        return self.table.told(exact=members and self.sum_of(members) == self.table.exact(members))

    # ------------------------------------------------------------------ what the server can tell

    @property
    def length(self):
        return self.plan.pipeline.total_length

    @property
    def session(self):
        return session_id(self.plan.sum_plan(), self.entries)

    def index(self, name):
        return self.places[name].index

    def _with_input(self):
        return [n for n in self.cohort.members if self.index(n) in self.inputs]

    def secret(self, index, kind):
        """A client's secret from the shares that were revealed; None below the threshold."""
        shares = self.answers.get((index, kind), {})
        if len(shares) < self.plan.threshold:
            return None
        holders = sorted(shares)[: self.plan.threshold]
        points = np.array([h + 1 for h in holders], dtype=np.uint64)
        return reconstruct(points, np.stack([shares[h] for h in holders]), m.SECRET_BYTES)

    def sum_of(self, names):
        """The sum over exactly these clients, if the server can take every mask off it."""
        members = [self.index(n) for n in names]
        if not members or not set(members) <= set(self.inputs):
            return None
        terms = []
        for u in members:
            seed = self.secret(u, Secret.SEED)
            others = self._unpaired(u, members)
            pairs = [self._pair(u, v) for v in others]
            if seed is None or None in pairs:
                return None
            terms.append(Term(-1, self_seed(self.session, seed, u)))
            terms += [Term(-1 if u < v else +1, s) for v, s in zip(others, pairs, strict=True)]
        bits = self.plan.modulus_bits
        total = PackedSum(self.length, bits)
        for u in members:
            total.add_packed(0, pack(self.inputs[u], bits))
        return add_terms(total, terms)[:].tolist()

    def _unpaired(self, u, members):
        mine = self.dealers[self.cohort.members[u]]
        return [
            v
            for v in mine - {u}
            if not (v in members and u in self.dealers[self.cohort.members[v]])
        ]

    def _pair(self, u, v):
        for one, other in ((u, v), (v, u)):
            private = self.mask_keys.get(one) or self.secret(one, Secret.MASK_KEY)
            if private is not None:
                public = next(e.mask_key for e in self.entries if e.membership.index == other)
                return pairwise_seed(self.session, KeyPair(private).agree(public), one, other)
        return None

    def corrupt(self, name):
        """Take a client's mask key: it is in league with the server."""
        secrets = self.clients[name]._party._secrets
        self.mask_keys[self.index(name)] = secrets["mask_private"]

    # ------------------------------------------------------------------ the wire

    def _present(self, to, there):
        return [n for n in self.cohort.members if n in there and (to is None or n in to)]

    def _say(self, name, message):
        body = message if isinstance(message, bytes) else encode(message)
        plan = self.clients[name].round_plan or self.plan
        return self._hear(name, encode(Envelope(plan.round_id, body)))

    def _hear(self, name, message, sender=SERVER):
        return self._collect(name, self.clients[name].receive(sender, message))

    def _collect(self, name, effects):
        bodies = []
        try:
            for effect in effects:
                if isinstance(effect, Send):
                    envelope = decode(Envelope | Refusal, effect.message, limit=1 << 20)
                    if isinstance(envelope, Envelope):
                        bodies.append(decode(BODIES, envelope.body, limit=1 << 20))
        except (PeerError, PolicyRefused) as error:
            self.table.refusals.append((name, error.reason))
        except BudgetExhausted:
            self.table.refusals.append((name, Reason.BUDGET))
        return bodies


def with_inputs(honest, **settings):
    """A table, and a script up to the input; honestly, up to the invitation."""
    table = Table(**settings)
    script = table.script().invite()
    return table, script if honest else script.roster().deliver()
