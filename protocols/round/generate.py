"""Writes messages.schema.json and vectors/ from the package; run again, nothing changes.

    python protocols/round/generate.py

A vector is a script: what each recorded party is given, in order, and what it answers, with every
mark that a client's store commits in its place among the bytes that leave. A positive records
everyone. A negative records the one party that is lied to, and tells one lie; those who lie for it
run unrecorded beside it. The scenarios stand in scenarios.py.
"""

import hashlib
import importlib.util
import json
import math
import re
import shutil
import sys
import tempfile
from pathlib import Path

import msgspec
import numpy as np

from fedprivacy.crypto import Directory, Identity, SigningKey
from fedprivacy.dp.events import Release
from fedprivacy.errors import (
    BudgetExhausted,
    ConfigurationError,
    PeerError,
    PolicyRefused,
    Reason,
)
from fedprivacy.ledger import (
    BudgetTerms,
    ClientStore,
    LedgerAccountant,
    SignedHead,
    spend_of,
)
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import (
    ClientPolicy,
    Envelope,
    Invitation,
    Plan,
    Refusal,
    RoundClient,
    RoundPlan,
    RoundServer,
    Settled,
)
from fedprivacy.rounds.policy import BudgetLimit, Requirements
from fedprivacy.rounds.privacy import PrivacyClaim, round_event
from fedprivacy.rounds.rules import Trust
from fedprivacy.secagg import PROTOCOLS, SERVER, Aborted, Adversary, Cohort, Done, Persist, Send
from fedprivacy.secagg import SendChunk as Chunk
from fedprivacy.secagg.plain import PlainInput
from fedprivacy.vector import Update
from fedprivacy.wire import encode

FOLDER = Path(__file__).resolve().parent
VERSION = "draft-1"
LONGEST = 1 << 14  # bytes that a vector spells out; of longer messages, long runs are counted
RUN_ID = b"run-of-16-bytes!"
BROADCAST = b"a model's weights"

# ------------------------------------------------------------------ values as JSON


def message_json(message):
    """Hex; or, of a long message, a list of hex and of runs of one byte."""
    if len(message) <= LONGEST:
        return message.hex()
    parts, at = [], 0
    for run in re.finditer(rb"(.)\1{4095,}", message, re.DOTALL):
        parts += [message[at : run.start()].hex(), {"byte": run[1].hex(), "count": len(run[0])}]
        at = run.end()
    return [*parts, message[at:].hex()]


def values_json(values):
    """The values, or the hash of them as little-endian doubles."""
    if len(values) <= LONGEST:
        return values.tolist()
    return {"sha256": hashlib.sha256(values.astype("<f8").tobytes()).hexdigest()}


def in_hex(value):
    """The value with its bytes in hex."""
    match value:
        case bytes():
            return value.hex()
        case dict():
            return {key: in_hex(item) for key, item in value.items()}
        case list() | tuple():
            return [in_hex(item) for item in value]
    return value


def refusal_json(error):
    reason, culprits = Reason.FAILED, ()
    if isinstance(error, PeerError):
        reason, culprits = error.reason, error.culprits
    if isinstance(error, PolicyRefused):
        reason = error.reason
    if isinstance(error, BudgetExhausted):
        reason = Reason.BUDGET
    return {"reason": reason.name, "code": reason.value, "culprits": list(culprits)}


def sum_json(server):
    decoded = server.aggregate
    more = {"next_clip": server.next_clip} if server.plan.adaptive.quantile else {}
    return {"values": values_json(decoded.sum), "weight": decoded.weight} | more


def effect_json(effect, server):
    match effect:
        case Persist(mark, phase, members):
            return {"persist": mark.value, "phase": phase, "members": list(members)}
        case Chunk(recipient, message):
            return {"send_chunk": [recipient], "message": message_json(message)}
        case Send(recipient, message):
            return {"send": [recipient], "message": message_json(message)}
        case Done(None, ()):  # a client; a server that added noise keeps the exact sum to itself
            return {"done": {}}
        case Done(_, survivors):
            return {"done": {"sum": sum_json(server), "survivors": list(survivors)}}
        case Aborted(error):
            aborted = {"reason": error.reason.name, "code": error.reason.value}
            return {"aborted": aborted | {"culprits": list(error.culprits)}}
    raise TypeError(effect)


def append(effects, effect):
    """One message to several in a row is one effect."""
    last = effects[-1] if effects else {}
    for verb in ("send", "send_chunk"):
        if verb in effect and verb in last and last["message"] == effect["message"]:
            last[verb] += effect[verb]
            return
    effects.append(effect)


def merged(base, changes):
    """The nested dict with these keys changed."""
    out = dict(base)
    for key, value in (changes or {}).items():
        out[key] = merged(out.get(key, {}), value) if isinstance(value, dict) else value
    return out


# ------------------------------------------------------------------ a client's store


class RecordingStore:
    """A client's store that tells, in order, what it has committed."""

    def __init__(self, store):
        self.store, self.events = store, []

    def authority(self):
        return self.store.authority()

    def together(self):
        return self.store.together()

    def observe_directory(self, epoch, digest):
        self.store.observe_directory(epoch, digest)
        self.events.append({"commit": "directory", "epoch": epoch, "digest": digest.hex()})

    def begin(self, *what, terms):
        self.store.begin(*what, terms=terms)
        self.events.append({"commit": "begin"})

    def keep_receipt(self, head, *, after):
        self.store.keep_receipt(head, after=after)
        self.events.append({"commit": "head", "number": head.number})

    def keep_head(self, head, *, operator):
        self.store.keep_head(head, operator=operator)
        self.events.append({"commit": "head", "number": head.number})

    def check_affordable(self, *what):
        self.store.check_affordable(*what)

    def mark_spent(self, *what, **how):
        self.store.mark_spent(*what, **how)
        self.events.append({"commit": "spent"})

    def mark_answered(self, *what):
        self.store.mark_answered(*what)
        self.events.append({"commit": "answered", "survivors": sorted(what[4])})


# ------------------------------------------------------------------ a run

PLAN = {
    "schema": "fedprivacy/plan/1",
    "dataset": {"id": "ones", "unit": "client"},
    "aggregation": {
        "protocol": "plain",
        "adversary": "honest-but-curious",
        "min_clients": 2,
    },
    # With three bits, the scale is one.
    "update": {"clip": 3.0, "value_bits": 3},
}
POLICY = {
    "aggregation": {
        "protocol": ["plain", "secagg"],
        "adversary": "honest-but-curious",
        "min_clients": 2,
        "corrupt": 0,
    }
}
NOISE = {
    "trust": "distributed",
    "noise_multiplier": 2.0,
    "epsilon": 8.0,
    "delta": 1e-5,
    "rounds": 3,
}
SIGNED = {"aggregation": {"protocol": "secagg", "adversary": "malicious"}}


NO_NOISE = {"seed": "", "drawn": []}


class Seeds:
    """Seeds as they are drawn, kept; or, given some, those."""

    def __init__(self, rng=None, given=()):
        self.rng, self.given, self.kept = rng, list(given), []

    def bytes(self, count):
        self.kept.append(self.rng.bytes(count) if self.rng else self.given.pop(0))
        return self.kept[-1]


def noise_json(round_plan, seed):
    """A seed, and the noise that this package draws from it."""
    plan, pipeline = round_plan.plan, round_plan.pipeline
    before = pipeline.specs[-1 if plan.noise.trust is Trust.SERVER else -2]
    add = plan.noise_stage(round_plan.cohort_size).added(before, rng=Seeds(given=[seed]))
    drawn = add(np.zeros(before.length, dtype=np.int64))
    return {"seed": seed.hex(), "drawn": drawn.tolist()}


def drawn_by(round_plan, values, rng):
    """The seeds that a client draws for its rounding, and its noise."""
    plan = round_plan.plan
    if plan.noise.trust is Trust.NONE:
        rows = len(values) if plan.protects_units else 1
        return [rng.bytes(32).hex() for _ in range(rows)], NO_NOISE
    seeds = Seeds(rng)
    round_plan.pipeline.encode(Update(np.array(values, dtype=np.float64)), rng=seeds)
    noise = NO_NOISE
    if plan.noise.trust is not Trust.SERVER:
        noise = noise_json(round_plan, seeds.kept.pop())
    return [seed.hex() for seed in seeds.kept], noise


def accounts_json(round_plan, limit):
    """What an accountant says: epsilon of all rounds, upwards, and how many a budget holds."""
    plan, size = round_plan.plan, round_plan.cohort_size
    claim = PrivacyClaim.of(plan, size, round_plan.length)
    if claim is None:
        return {"all_rounds": None, "holds": None}
    holds = None
    if limit is not None:
        terms = BudgetTerms(plan.dataset.adjacency.value, limit.epsilon, limit.delta)
        event, holds = round_event(plan, size, round_plan.length), 0
        while True:
            spend = spend_of(Release(event, count=holds + 1))
            if LedgerAccountant().epsilon([spend], terms) > limit.epsilon:
                break
            holds += 1
    return {"all_rounds": math.ceil(claim.bound.epsilon * 100) / 100, "holds": holds}


class Attempt:
    """One attempt as its honest server has it, with the parties in it."""

    def __init__(self, run, index, plan, cohort, directory, broadcast, ledger):
        self.run, self.index, self.ledger = run, index, ledger
        self.plan, self.cohort = plan, cohort
        self.directory, self.broadcast = directory, broadcast
        self.places = {place.client_id: place for place in cohort.memberships()}
        self.rng = InsecureTestRng(f"round/{run.name}/{index}/graph")
        self.server = RoundServer(
            plan, cohort, directory, broadcast, rng=self.rng, ledger=self.ledger
        )
        self.rngs = {
            name: InsecureTestRng(f"round/{run.name}/{index}/{name}") for name in self.places
        }
        self.clients = {}

    def client(self, name):
        if name not in self.clients:
            run = self.run
            policy = ClientPolicy(require=run.policies[name], budget=run.budgets)
            store = run.stores[name]
            self.clients[name] = RoundClient(
                policy, run.identities[name], store, rng=self.rngs[name]
            )
        return self.clients[name]

    def invitation(
        self, name, *, changes=None, place=None, directory=None, broadcast=None, ledger=None
    ):
        """What the honest server sends to this member, or that with one lie."""
        if directory is None:
            directory = encode(self.directory) if self.directory else b""
        plan = msgspec.structs.replace(self.plan, **changes or {})
        told = self.broadcast if broadcast is None else broadcast
        if ledger is None:
            ledger = encode(self.ledger) if self.ledger else b""
        return encode(Invitation(plan, place or self.places[name], directory, told, ledger))

    def envelope(self, body, round_id=None):
        return encode(Envelope(round_id or self.plan.round_id, body))

    def refusal(self, code, round_id=None):
        return encode(Refusal(round_id or self.plan.round_id, code))

    def settled(self, head, round_id=None):
        """A receipt; `head` is signed, or bytes that are none."""
        data = head if isinstance(head, bytes) else encode(head)
        return encode(Settled(round_id or self.plan.round_id, data))

    def json(self):
        plan, pipeline = self.plan, self.plan.pipeline
        names = self.run.update_names(self)
        rand = PROTOCOLS[plan.plan.aggregation.protocol].rand_bytes
        members = {}
        for name in names:
            values, weight = self.run.updates[name]
            seeds = self.rngs[name].child("encoding")
            encoding, noise = drawn_by(plan, values, seeds)
            members[name] = {
                "rand": self.rngs[name].child("round-secrets").bytes(rand).hex(),
                "encoding": encoding,
                "noise": noise,
                "update": {"values": values, "weight": weight},
            }
        fields = {f: getattr(plan, f) for f in plan.__struct_fields__}
        return {
            "round_plan": in_hex(fields | {"plan": msgspec.to_builtins(plan.plan)}),
            "cohort": [[p.client_id, p.salt.hex()] for p in self.places.values()],
            "directory": encode(self.directory).hex() if self.directory else "",
            "broadcast": self.broadcast.hex(),
            "ledger": encode(self.ledger).hex() if self.ledger else "",
            "noise": self.server_noise(),
            "members": members,
            "derived": {
                "round_id": plan.round_id.hex(),
                "terms": plan.terms.hex(),
                "plan_digest": plan.plan.digest().hex(),
                "total_length": pipeline.total_length,
                "client_bound": pipeline.client_bound,
            },
        }

    def server_noise(self):
        """What a server that is trusted with it draws."""
        if self.plan.plan.noise.trust is not Trust.SERVER:
            return NO_NOISE
        return noise_json(self.plan, self.rng.child("noise").bytes(32))


class Run:
    """Some clients at work, over one attempt or several, and the record of it."""

    def __init__(
        self,
        name,
        *,
        n=3,
        signed=False,
        plan=None,
        policy=None,
        policies=None,
        budget=None,
        noise=None,
        updates=None,
        length=4,
        unenrolled=(),
        unpinned=(),
        files=False,
        records=None,
    ):
        self.name, self.records, self.length = name, records, length
        self.rng = rng = InsecureTestRng(f"round/{name}")
        self.names = [f"c{i:03}" for i in range(n)]
        base = merged(PLAN, SIGNED if signed else {})
        if noise is not None:
            # No share of noise is enough for a vector that is seen by itself.
            masked = {"aggregation": {"protocol": "secagg"}, "update": {"weights": "uniform"}}
            base = merged(base, masked | {"noise": merged(NOISE, noise)})
        self.plan_json = merged(base, plan)
        self.budget = budget or {}
        self.budgets = {name: BudgetLimit(**limit) for name, limit in self.budget.items()}
        self.operator = SigningKey.from_seed(InsecureTestRng(f"round/{name}/operator").bytes(32))
        self.authority = SigningKey.from_seed(rng.bytes(32))
        self.seeds = {c: rng.bytes(32) for c in self.names}
        self.identities = {
            c: Identity(c, SigningKey.from_seed(seed)) for c, seed in self.seeds.items()
        }
        floors = merged(POLICY, policy)
        self.policies = {
            c: msgspec.convert(merged(floors, (policies or {}).get(c)), Requirements)
            for c in self.names
        }
        self.unpinned = unpinned
        self.folder = Path(tempfile.mkdtemp()) if files else None
        self.stores = {c: RecordingStore(self._store(c)) for c in self.names}
        self.signed = self.plan_json["aggregation"]["adversary"] == Adversary.MALICIOUS.value
        self.unenrolled = unenrolled
        self.cohorts, self.attempts = {}, []
        self.updates = {
            c: (updates or {}).get(
                c, ([float((i + 1) * (k + 1) % 3 - 1) for i in range(length)], 1)
            )
            for k, c in enumerate(self.names)
        }
        self.operations, self.refused, self.ended = [], None, None

    def _store(self, name):
        path, anchor = ":memory:", None
        if self.folder:
            for part in ("stores", "anchors", "copies"):
                (self.folder / part).mkdir(exist_ok=True)
            path, anchor = self.folder / "stores" / name, self.folder / "anchors" / name
        store = ClientStore(path, anchor=anchor)
        if name not in self.unpinned:
            store.pin_authority(self.authority.public)
        return store

    def close(self):
        for store in self.stores.values():
            store.store.close()
        if self.folder:
            shutil.rmtree(self.folder)

    def update_names(self, attempt):
        """Whose secrets a vector holds: those of the recorded."""
        if self.records is None:
            return list(attempt.places)
        return [name for name in attempt.places if name in self.records]

    # -------------------------------------------------------------- attempts

    def sign_directory(self, epoch=1, *, authority=None, **changes):
        keys = {
            c: identity.key.public
            for c, identity in self.identities.items()
            if c not in self.unenrolled
        } | changes
        return Directory.sign(epoch, keys.items(), authority or self.authority)

    def head(self, number, head, *, operator=None, ledger=b"ledger-16-bytes!"):
        """A row of the server's ledger, signed."""
        return SignedHead.sign(operator or self.operator, ledger, number, head)

    def cohort(self, number=1, names=None):
        key = (number, tuple(names or self.names))
        if key not in self.cohorts:
            rng = self.rng.child(f"cohort/{number}/{len(self.cohorts)}")
            self.cohorts[key] = Cohort.of(key[1], rng=rng)
        return self.cohorts[key]

    def attempt(
        self,
        number=1,
        attempt=1,
        *,
        run_id=RUN_ID,
        cohort=None,
        plan=None,
        directory=None,
        broadcast=BROADCAST,
        ledger=None,
    ):
        cohort = cohort or self.cohort(number)
        if directory is None and self.signed:
            directory = self.sign_directory()
        round_plan = RoundPlan.freeze(
            self.plan(plan),
            cohort,
            run_id=run_id,
            number=number,
            attempt=attempt,
            broadcast=broadcast,
            length=self.length,
            directory=directory,
            ledger_head=ledger.head if ledger else bytes(32),
            rng=self.rng.child(f"nonce/{len(self.attempts)}"),
        )
        made = Attempt(self, len(self.attempts), round_plan, cohort, directory, broadcast, ledger)
        self.attempts.append(made)
        return made

    def plan(self, changes=None):
        return msgspec.convert(merged(self.plan_json, changes), Plan)

    # -------------------------------------------------------------- operations

    def invite(self, attempt, members=None):
        members = self.names if members is None else members
        entry = {"operation": "invite", "members": list(members)}
        return self._do(attempt, SERVER, entry, lambda: attempt.server.invite(members))

    def receive(self, attempt, party, message, sender=SERVER):
        entry = {"operation": "receive", "sender": sender, "message": message_json(message)}
        target = attempt.server if party == SERVER else attempt.client(party)
        return self._do(attempt, party, entry, lambda: target.receive(sender, message))

    def contribute(self, attempt, name):
        values, weight = self.updates[name]
        update = Update(np.array(values, dtype=np.float64), weight)
        client, entry = attempt.client(name), {"operation": "contribute"}
        return self._do(attempt, name, entry, lambda: client.contribute(update))

    def settle(self, attempt, head):
        """The server has settled the attempt: everyone who took part gets a receipt."""
        entry = {"operation": "settle", "ledger": encode(head).hex()}
        told = self._do(attempt, SERVER, entry, lambda: attempt.server.settled(head))
        for name, message in told:
            self.receive(attempt, name, message)

    def advance(self, attempt):
        return self._do(attempt, SERVER, {"operation": "advance"}, attempt.server.advance)

    def _do(self, attempt, party, entry, act):
        """Acts, records, and returns what was sent as (recipient, message)."""
        store = self.stores.get(party)
        entry = {"operation": entry["operation"], "attempt": attempt.index, "party": party} | entry
        effects, sent, refused = [], [], {}
        stream = act()
        while True:
            try:
                effect = next(stream)
            except StopIteration:
                break
            except (PeerError, PolicyRefused, BudgetExhausted, ConfigurationError) as error:
                refused = {"refused": refusal_json(error)}
                break
            finally:
                if store:
                    for event in store.events:
                        append(effects, event)
                    store.events.clear()
            append(effects, effect_json(effect, attempt.server))
            if isinstance(effect, Send):
                sent.append((effect.recipient, effect.message))
        self._record(party, entry, effects, refused)
        if party == SERVER and self.operations and self.operations[-1]["party"] == SERVER:
            self.operations[-1]["after"] = self._after(attempt.server)
        return sent

    @staticmethod
    def _after(server):
        return {
            "phase": server.phase,
            "waiting": sorted(server.waiting_for),
            "refused": {c: reason.name for c, reason in sorted(server.refused.items())},
            "answers": server.answers_requested,
            "unmasking": server.unmasking_requested,
        }

    def _record(self, party, entry, effects, refused):
        if self.records is not None and party not in self.records:
            return
        self.operations.append(entry | {"expect": effects} | refused)
        for effect in effects:
            if "aborted" in effect or effect.get("done"):
                self.ended = effect.get("done") or effect
        if refused and self.refused is None:
            self.refused = {"refused": {"party": party, **refused["refused"]}}

    # -------------------------------------------------------------- a store's own operations

    def store(self, name, call, **what):
        """One call of a client's store, outside of any round."""
        store, binary = self.stores[name], {k: v for k, v in what.items() if isinstance(v, bytes)}
        where = (what.get("run_id"), what.get("round"))
        calls = {
            "directory": lambda: store.observe_directory(what["epoch"], what["digest"]),
            "begin": lambda: store.begin(
                *where, what["attempt"], bytes(32), bytes(32), terms=what["terms"]
            ),
            "spent": lambda: store.mark_spent(*where, what["attempt"]),
            "answered": lambda: store.mark_answered(
                *where, 1, what["broadcast"], what["survivors"], what["floor"]
            ),
        }
        refused = {}
        try:
            calls[call]()
        except (PeerError, PolicyRefused) as error:
            refused = {"refused": refusal_json(error)}
        effects = list(store.events)
        store.events.clear()
        details = what | {key: value.hex() for key, value in binary.items()}
        entry = {"operation": "store", "party": name, "call": call, **details}
        self._record(name, entry, effects, refused)

    def copy_store(self, name):
        shutil.copyfile(self.folder / "stores" / name, self.folder / "copies" / name)
        self._record(name, {"operation": "copy_store", "party": name}, [], {})

    def put_store_back(self, name):
        shutil.copyfile(self.folder / "copies" / name, self.folder / "stores" / name)
        self._record(name, {"operation": "put_store_back", "party": name}, [], {})

    # -------------------------------------------------------------- whole attempts

    def play(self, attempt, members=None, *, drop=None, until=None):
        """Invites, delivers and closes phases until the attempt, or this phase, is over.

        `drop` maps a phase to those whose messages are lost in it. Returns what the server has
        sent when the phase `until` is reached, by recipient.
        """
        told = self.invite(attempt, members)
        while attempt.server.phase != "done":
            if attempt.server.phase == until:
                return dict(told)
            lost = (drop or {}).get(attempt.server.phase, ())
            for name, message in told:
                self.answer(attempt, name, message, lost)
            told = self.advance(attempt)
        return {}

    def answer(self, attempt, name, message, lost=()):
        """A client takes a message, adds its update to an invitation, and the server hears it."""
        client = attempt.client(name)
        fresh = client.round_plan is None
        sent = self.receive(attempt, name, message)
        if fresh and client.round_plan is not None:
            sent += self.contribute(attempt, name)
        for _, answer in sent:
            if name not in lost:
                self.receive(attempt, SERVER, answer, name)

    # -------------------------------------------------------------- the file

    def accounts(self):
        """Of the first attempt's honest plan: no vector changes its noise and has a budget."""
        if not self.attempts:
            return {"all_rounds": None, "holds": None}
        plan = self.attempts[0].plan
        return accounts_json(plan, self.budgets.get(plan.plan.dataset.id))

    def outcome(self):
        if self.name.startswith("ok_"):
            return self.ended or {"accepted": True}
        return self.refused or self.ended

    def json(self, note):
        clients = [
            {
                "client_id": c,
                "identity_seed": self.seeds[c].hex(),
                "authority": None if c in self.unpinned else self.authority.public.hex(),
                "policy": msgspec.to_builtins(self.policies[c]),
                "budget": self.budget,
                "accounts": self.accounts(),
            }
            for c in self.names
            if self.records is None or c in self.records
        ]
        return {
            "schema": "fedprivacy/round-vector/1",
            "version": VERSION,
            "source": "protocols/round/generate.py",
            "name": self.name,
            "note": note,
            "clients": clients,
            "attempts": [attempt.json() for attempt in self.attempts],
            "operations": self.operations,
            "outcome": self.outcome(),
        }


# ------------------------------------------------------------------ the schema


def _number_schema(kind):
    bounds = {
        "minimum": kind.ge,
        "exclusiveMinimum": kind.gt,
        "maximum": kind.le,
        "exclusiveMaximum": kind.lt,
    }
    return {key: bound for key, bound in bounds.items() if bound is not None}


def _type_schema(kind, definitions):
    """A msgspec type as JSON Schema, for the message written as JSON with hex strings."""
    info = msgspec.inspect
    match kind:
        case info.IntType():
            return {"type": "integer", **_number_schema(kind)}
        case info.FloatType():
            return {"type": "number", **_number_schema(kind)}
        case info.StrType():
            bounds = {"minLength": kind.min_length, "maxLength": kind.max_length}
            bounds["pattern"] = kind.pattern
            return {"type": "string"} | {k: v for k, v in bounds.items() if v is not None}
        case info.EnumType():
            return {"enum": sorted(member.value for member in kind.cls)}
        case info.LiteralType():
            return {"enum": sorted(kind.values)}
        case info.BytesType() | info.MemoryViewType():
            bounds = {"minLength": kind.min_length, "maxLength": kind.max_length}
            pattern = {"contentEncoding": "base16", "pattern": "^([0-9a-f]{2})*$"}
            return {"type": "string", **pattern} | {
                key: 2 * bound for key, bound in bounds.items() if bound is not None
            }
        case info.VarTupleType():
            items = _type_schema(kind.item_type, definitions)
            return {"type": "array", "items": items, "maxItems": kind.max_length}
        case info.TupleType():
            return _array([_type_schema(item, definitions) for item in kind.item_types])
        case info.StructType():
            _define(kind, definitions)
            return {"$ref": f"#/$defs/{kind.cls.__name__}"}
        case _:
            raise TypeError(kind)


def _array(fields):
    count = {"minItems": len(fields), "maxItems": len(fields)}
    return {"type": "array", "prefixItems": fields, "items": False, **count}


def _define(kind, definitions):
    if kind.cls.__name__ in definitions:
        return
    fields = {f.encode_name: _type_schema(f.type, definitions) for f in kind.fields}
    if kind.array_like:
        tag = [] if kind.tag is None else [{"title": "kind", "const": kind.tag}]
        shape = _array([*tag, *({"title": f, **of} for f, of in fields.items())])
    else:
        # On the wire no key is left out, and they stand in this order.
        shape = {
            "type": "object",
            "properties": fields,
            "required": list(fields),
            "additionalProperties": False,
        }
    first = kind.cls.__doc__.split("\n")[0]
    definitions[kind.cls.__name__] = {"description": first, **shape}


IN_ORDER = (Invitation, Envelope, Settled, Refusal, Directory, PlainInput)


def schema_json():
    definitions = {}
    for kind in IN_ORDER:
        _define(msgspec.inspect.type_info(kind), definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "fedprivacy/round/messages",
        "title": f"Messages of a round, {VERSION}",
        "description": (
            "A message's MessagePack arrays and maps, integers, doubles and strings as JSON, its "
            "byte strings as lower-case hex. Only the canonical MessagePack encoding is valid on "
            "the wire."
        ),
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in IN_ORDER],
        "$defs": definitions,
    }


# ------------------------------------------------------------------ files


def _text(value):
    """Indented, with lists of numbers and of short strings on one line each."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    item = r'-?\d+(?:\.\d+)?(?:e[-+]\d+)?|"[^"\s]{0,64}"'
    flat = re.compile(rf"\[\s+((?:{item})(?:,\s+(?:{item}))*)\s+\]")
    return flat.sub(lambda m: "[" + re.sub(r",\s+", ", ", m[1]) + "]", text) + "\n"


def _scenarios():
    """scenarios.py, by its path: this folder is no package."""
    spec = importlib.util.spec_from_file_location("round_scenarios", FOLDER / "scenarios.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def render():
    """Every generated file: its path in this folder, and its text."""
    files = {"messages.schema.json": _text(schema_json())}
    for name, scenario in _scenarios().SCENARIOS.items():
        run, note = scenario(name, Run)
        if run.outcome() is None:
            raise RuntimeError(f"{name} has no outcome")
        files[f"vectors/{name}.json"] = _text(run.json(note))
    return files


def main():
    for path, text in render().items():
        target = FOLDER / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
