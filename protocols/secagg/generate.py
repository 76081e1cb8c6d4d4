"""Writes messages.schema.json and vectors/ from the package; run again, nothing changes.

    python protocols/secagg/generate.py

A vector is a script: what each recorded party is given, in order, and what it answers. A positive
records everyone. A negative records the one party that is lied to, and tells one lie; those who lie
for it run unrecorded beside it. The scenarios stand in scenarios.py.
"""

import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np

from fedprivacy.crypto import Directory, Identity, SigningKey, Suite
from fedprivacy.errors import PeerError
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.secagg import (
    SERVER,
    Aborted,
    Adversary,
    Cohort,
    Done,
    Persist,
    SecAgg,
    Send,
    SendChunk,
    SumPlan,
)
from fedprivacy.secagg.masking import messages
from fedprivacy.secagg.uploads import MaskedChunk

FOLDER = Path(__file__).resolve().parent
VERSION = "draft-1"
LONGEST = 1 << 14  # bytes (or values) that a vector spells out; what is longer stands by its hash

# ------------------------------------------------------------------ values as JSON


def message_json(message, longest):
    """Hex, or the hash of what an earlier operation has sent."""
    if len(message) <= longest:
        return message.hex()
    return {"sha256": hashlib.sha256(message).hexdigest(), "size": len(message)}


def sum_json(total):
    """The values, or the hash of them as little-endian words of 64 bits."""
    values = np.asarray(total, dtype="<i8")
    if len(values) <= LONGEST:
        return values.tolist()
    return {"sha256": hashlib.sha256(values.tobytes()).hexdigest()}


def values_of(rule):
    """The vector that an input's entry stands for: a list, or a rule."""
    if isinstance(rule, list):
        return rule
    step, start, modulo, minus = (rule[k] for k in ("multiply", "add", "modulo", "minus"))
    return [(i * step + start) % modulo - minus for i in range(rule["length"])]


def refusal_json(error):
    return {
        "reason": error.reason.name,
        "code": error.reason.value,
        "culprits": list(error.culprits),
    }


def effects_json(effects, longest):
    """Effects in order; one message to several in a row is one effect."""
    out = []
    for effect in effects:
        match effect:
            case Persist(mark, phase, members):
                out.append({"persist": mark.value, "phase": phase, "members": list(members)})
            case Send(recipient, message):
                verb = "send_chunk" if isinstance(effect, SendChunk) else "send"
                body = message_json(message, longest)
                if out and verb in out[-1] and out[-1]["message"] == body:
                    out[-1][verb].append(recipient)
                else:
                    out.append({verb: [recipient], "message": body})
            case Done(None, _):
                out.append({"done": {}})
            case Done(total, survivors):
                out.append({"done": {"sum": sum_json(total), "survivors": list(survivors)}})
            case Aborted(error):
                out.append({"aborted": refusal_json(error)})
    return out


# ------------------------------------------------------------------ a run


class Run:
    """One cohort at work, and the record of it."""

    protocol = SecAgg
    folder = "secagg"
    adversary = Adversary.MALICIOUS
    graph: ClassVar[dict[str, int]] = {}
    """What the plan has beside the fields of every plan."""

    def __init__(
        self,
        name,
        *,
        n=4,
        ids=None,
        threshold=3,
        corrupt=1,
        adversary=None,
        bits=20,
        length=5,
        inputs=None,
        unenrolled=(),
        min_clients=2,
        floor=2,
        records=None,
        longest=LONGEST,
    ):
        rng = InsecureTestRng(f"{self.folder}/{name}")
        adversary = adversary or self.adversary
        self.longest = longest
        self.name, self.records, self.floor = name, records, floor
        self.rng = rng
        self.ids = ids or [f"c{i:03}" for i in range(n)]
        self.authority = SigningKey.from_seed(rng.bytes(32))
        self.seeds = {c: rng.bytes(32) for c in self.ids}
        self.identities = {
            c: Identity(c, SigningKey.from_seed(seed)) for c, seed in self.seeds.items()
        }
        enrolled = [(c, self.identities[c].key.public) for c in self.ids if c not in unenrolled]
        self.directory = Directory.sign(1, enrolled, self.authority)
        if adversary is Adversary.HONEST_BUT_CURIOUS:
            self.directory = None
        self.cohort = Cohort.of(self.ids, rng=rng)
        self.memberships = {m.client_id: m for m in self.cohort.memberships()}
        self.plan = SumPlan(
            round_id=rng.bytes(32),
            broadcast=rng.bytes(32),
            suite=Suite.X25519_ED25519_HKDF_SHA256_AES256GCM_AES256CTR,
            adversary=adversary,
            cohort_size=len(self.ids),
            cohort_root=self.cohort.root,
            threshold=threshold,
            corrupt=corrupt,
            min_clients=min_clients,
            length=length,
            modulus_bits=bits,
            **self.graph,
        )
        self.rand = {c: rng.bytes(self.protocol.rand_bytes) for c in self.ids}
        self.inputs = inputs or {
            c: [(7 * i + 3 + k) % 23 - 11 for i in range(length)] for k, c in enumerate(self.ids)
        }
        self.server = self.protocol.server(
            self.plan, self.cohort, self.directory, rng=self.rng.child("graph")
        )
        self.clients = {c: self.new_client(c) for c in self.ids}
        self.operations = []
        self.outcome = None

    def new_client(self, client_id, directory=None):
        return self.protocol.client(
            self.plan,
            self.memberships[client_id],
            identity=self.identities[client_id],
            directory=directory or self.directory,
            floor=self.floor,
            rand=self.rand[client_id],
        )

    # -------------------------------------------------------------- operations

    def start(self, client_id):
        return self._do("start", client_id, self.clients[client_id].start)

    def receive(self, party, message, sender=SERVER):
        target = self.server if party == SERVER else self.clients[party]
        return self._do("receive", party, lambda: target.receive(sender, message), sender, message)

    def contribute(self, client_id):
        vector = np.array(values_of(self.inputs[client_id]), dtype=np.int64)
        return self._do("contribute", client_id, lambda: self.clients[client_id].contribute(vector))

    def advance(self):
        return self._do("advance", SERVER, self.server.advance)

    def _do(self, operation, party, act, sender=None, message=None):
        """Acts, records, and returns what was sent as (recipient, message)."""
        phase = self.server.phase if party == SERVER else self.clients[party].phase.value
        effects = []
        try:
            effects.extend(act())
            expect = effects_json(effects, self.longest)
        except PeerError as error:
            expect = refusal_json(error)
            if party != SERVER:
                self._end_refused(party, expect)
        for effect in effects:
            if isinstance(effect, Done) and effect.total is not None:
                done = {"sum": sum_json(effect.total), "survivors": list(effect.survivors)}
                self.outcome = done
            if isinstance(effect, Aborted):
                self.outcome = {"aborted": refusal_json(effect.error)}
        if self.records is None or party in self.records:
            entry = {"operation": operation, "party": party, "phase": phase}
            if message is not None:
                entry |= {"sender": sender, "message": self._given_json(message)}
            self.operations.append(entry | {"expect": expect})
        return [(e.recipient, e.message) for e in effects if isinstance(e, Send)]

    def _given_json(self, message):
        return message_json(message, self.longest)

    def _end_refused(self, party, refusal):
        """The first refusal of a recorded client is what a vector is about."""
        if self.outcome is None and (self.records is None or party in self.records):
            self.outcome = {"refused": {"party": party, **refusal}}

    # -------------------------------------------------------------- phases

    def phase(self, answers, *, drop=(), lies=None):
        """Hands every client's answers to the server and closes its phase.

        `answers` maps a client to the function that makes its messages; `lies` maps a client to
        what becomes of them on the way. Returns what the server sends, by recipient.
        """
        for client_id, answer in answers.items():
            if client_id in drop:
                continue
            sent = [message for _, message in answer()]
            for message in (lies or {}).get(client_id, list)(sent):
                self.receive(SERVER, message, client_id)
        return dict(self.advance())

    def keys(self, **how):
        return self.phase({c: lambda c=c: self.start(c) for c in self.ids}, **how)

    def hear(self, told, **how):
        """A phase in which each client answers what the server told it."""
        return self.phase({c: lambda c=c, m=m: self.receive(c, m) for c, m in told.items()}, **how)

    def vectors(self, told, *, early=(), **how):
        """The phase in which vectors are sent; those in `early` have contributed already."""

        def answer(client_id, message):
            sent = self.receive(client_id, message)
            return sent if client_id in early else sent + self.contribute(client_id)

        return self.phase({c: lambda c=c, m=m: answer(c, m) for c, m in told.items()}, **how)

    def finish(self, told, **how):
        """From the survivor set on."""
        if self.plan.adversary is not Adversary.HONEST_BUT_CURIOUS:
            told = self.hear(told)
        return self.hear(told, **how)

    # -------------------------------------------------------------- the file

    def json(self, note):
        plan = self.plan
        directory = self.directory and {
            "epoch": self.directory.epoch,
            "entries": [[c, key.hex()] for c, key in self.directory.entries],
            "signature": self.directory.signature.hex(),
            "authority": self.authority.public.hex(),
        }
        return {
            "schema": f"fedprivacy/{self.folder}-vector/1",
            "version": VERSION,
            "protocol": self.protocol.name,
            "source": f"protocols/{self.folder}/generate.py",
            "name": self.name,
            "note": note,
            "plan": {
                "round_id": plan.round_id.hex(),
                "broadcast": plan.broadcast.hex(),
                "suite": plan.suite.value,
                "adversary": plan.adversary.value,
                "cohort_size": plan.cohort_size,
                "cohort_root": plan.cohort_root.hex(),
                "threshold": plan.threshold,
                "corrupt": plan.corrupt,
                "min_clients": plan.min_clients,
                "length": plan.length,
                "modulus_bits": plan.modulus_bits,
                **self.graph,
            },
            "members": [
                {
                    "client_id": c,
                    "index": m.index,
                    "salt": m.salt.hex(),
                    "path": [node.hex() for node in m.path],
                    "identity_seed": self.seeds[c].hex(),
                    "floor": self.floor,
                    "rand": self.rand[c].hex(),
                    "input": self.inputs[c],
                }
                for c, m in self.memberships.items()
            ],
            "directory": directory,
            "operations": self.operations,
            "outcome": self.outcome,
        }


# ------------------------------------------------------------------ the schema


def _type_schema(kind, definitions):
    """A msgspec type as JSON Schema, for the message written as nested arrays with hex strings."""
    info = msgspec.inspect
    match kind:
        case info.IntType():
            above = kind.le + 1 if kind.lt is None else kind.lt
            return {"type": "integer", "minimum": kind.ge, "exclusiveMaximum": above}
        case info.StrType():
            # JSON Schema's `$` is Python's `\Z`.
            return {"type": "string", "pattern": kind.pattern.replace(r"\Z", "$")}
        case info.BytesType() | info.MemoryViewType():
            least, most = kind.min_length or 0, kind.max_length
            return {
                "type": "string",
                "contentEncoding": "base16",
                "pattern": "^([0-9a-f]{2})*$",
                "minLength": 2 * least,
                "maxLength": 2 * most,
            }
        case info.VarTupleType():
            items = _type_schema(kind.item_type, definitions)
            return {"type": "array", "items": items, "maxItems": kind.max_length}
        case info.StructType():
            _define(kind, definitions)
            return {"$ref": f"#/$defs/{kind.cls.__name__}"}
        case _:
            raise TypeError(kind)


def _define(kind, definitions):
    fields = [{"title": f.name, **_type_schema(f.type, definitions)} for f in kind.fields]
    if kind.tag is not None:
        fields.insert(0, {"title": "kind", "const": kind.tag})
    definitions[kind.cls.__name__] = {
        "description": kind.cls.__doc__.split("\n")[0],
        "type": "array",
        "prefixItems": fields,
        "items": False,
        "minItems": len(fields),
        "maxItems": len(fields),
    }


IN_ORDER = (
    messages.KeyAdvertisement,
    messages.Roster,
    messages.SealedShares,
    messages.ShareDelivery,
    MaskedChunk,
    messages.MaskedInput,
    messages.SurvivorSet,
    messages.ConsistencySignature,
    messages.UnmaskRequest,
    messages.UnmaskShares,
)


def schema_json(folder, title, kinds):
    definitions = {}
    for kind in kinds:
        _define(msgspec.inspect.type_info(kind), definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"fedprivacy/{folder}/messages",
        "title": f"Messages of {title}, {VERSION}",
        "description": (
            "A message's MessagePack arrays, integers and strings as JSON, its byte strings as "
            "lower-case hex. Only the canonical MessagePack encoding is valid on the wire."
        ),
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds],
        "$defs": definitions,
    }


# ------------------------------------------------------------------ files


def text_of(value):
    """Indented, with lists of numbers and of short strings on one line each."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    flat = re.compile(r'\[\s+((?:-?\d+|"[^"\s]{0,64}")(?:,\s+(?:-?\d+|"[^"\s]{0,64}"))*)\s+\]')
    return flat.sub(lambda m: "[" + re.sub(r",\s+", ", ", m[1]) + "]", text) + "\n"


def by_path(folder, name):
    """A script of such a folder, which is no package."""
    label = f"{folder.name}_{name}".replace("-", "_")
    spec = importlib.util.spec_from_file_location(label, folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def render_with(folder, run_class, schema):
    """Every generated file of a protocol's folder: its path there, and its text."""
    files = {"messages.schema.json": text_of(schema)}
    for name, scenario in by_path(folder, "scenarios").SCENARIOS.items():
        run, note = scenario(name, run_class)
        if run.outcome is None:
            raise RuntimeError(f"{name} has no outcome")
        files[f"vectors/{name}.json"] = text_of(run.json(note))
    return files


def write(folder, files):
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)


def render():
    schema = schema_json("secagg", "masked aggregation", IN_ORDER)
    # A third commitment is for secagg+ alone.
    schema["$defs"]["SealedBox"]["prefixItems"][2]["maxLength"] = 2 * 64
    return render_with(FOLDER, Run, schema)


def main():
    write(FOLDER, render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
