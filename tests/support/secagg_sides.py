"""The package and the reference as two sides of one shape, and the vectors of a masking protocol.

A party's inputs give a list of effects as the reference writes them, or raise a `Refusal`; its
effects are written as the vectors have them, so that every byte that leaves a party is compared.
"""

import functools
import hashlib
import importlib.util
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedprivacy.crypto import Directory, Identity, SigningKey, Suite
from fedprivacy.errors import PeerError, Reason
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.secagg import (
    Aborted,
    Adversary,
    Cohort,
    Done,
    Membership,
    Persist,
    Send,
    SendChunk,
    SumPlan,
)

PROTOCOLS_FOLDER = Path(__file__).resolve().parents[2] / "protocols"
LONGEST = 1 << 14  # bytes, or values, that a vector spells out


# ------------------------------------------------------------------ reading vectors


def only(value, *keys, optional=()):
    """The value itself; unknown and missing keys are fatal."""
    assert set(keys) <= set(value) <= {*keys, *optional}, f"keys {sorted(value)}"
    return value


REFUSAL = ("reason", "code", "culprits")
NOTES = {"ok": ("shows",), "bad": ("lie", "effect")}


@dataclass(frozen=True)
class Vectors:
    """The folder of one protocol: its vectors, its reference, and both sides of a vector."""

    folder: str
    protocol: Any
    """Its entry in the package's registry."""
    more: tuple[str, ...] = ()
    """Keys that its vectors have beside those of SecAgg's."""

    @property
    def path(self):
        return PROTOCOLS_FOLDER / self.folder

    @property
    def files(self):
        return sorted((self.path / "vectors").glob("*.json"))

    def script(self, name):
        """A script of the folder, which is no package."""
        label = f"{self.folder}_{name}".replace("-", "_")
        spec = importlib.util.spec_from_file_location(label, self.path / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    @functools.cached_property
    def reference(self):
        return self.script("reference")

    def read(self, path):
        """A vector; unknown and missing keys are fatal."""
        vector = only(
            json.loads(path.read_text()),
            *("schema", "version", "protocol", "source", "name", "note", "plan", "members"),
            *("directory", "operations", "outcome", *self.more),
        )
        assert vector["schema"] == f"fedprivacy/{self.folder}-vector/1"
        assert vector["version"] == "draft-1"
        assert vector["protocol"] == self.protocol.name
        assert vector["source"] == f"protocols/{self.folder}/generate.py"
        assert vector["name"] == path.stem
        only(vector["plan"], *self.reference.Plan._fields)
        read_rest(vector)
        return vector

    def named(self, name):
        return self.read(self.path / "vectors" / f"{name}.json")

    def sides(self, vector):
        """By side: the server, and a maker of clients."""
        return {"package": package_side(self, vector), "reference": reference_side(self, vector)}


def read_rest(vector):
    """The keys that mean the same in every protocol."""
    only(vector["note"], *NOTES[vector["name"].split("_")[0]])
    member_keys = ("client_id", "index", "salt", "path", "identity_seed", "floor", "rand", "input")
    for member in vector["members"]:
        only(member, *member_keys)
        if isinstance(member["input"], dict):
            only(member["input"], "multiply", "add", "modulo", "minus", "length")
    if vector["directory"] is not None:
        only(vector["directory"], "epoch", "entries", "signature", "authority")
    for operation in vector["operations"]:
        read_operation(operation)
    read_outcome(vector["outcome"])


def read_operation(operation):
    given_keys = ("sender", "message") if operation["operation"] == "receive" else ()
    only(operation, "operation", "party", "phase", "expect", *given_keys)
    assert operation["operation"] in {"start", "receive", "contribute", "advance"}
    if isinstance(operation["expect"], dict):
        only(operation["expect"], *REFUSAL)
        return
    for effect in operation["expect"]:
        match effect:
            case {"persist": _}:
                only(effect, "persist", "phase", "members")
            case {"send": _}:
                only(effect, "send", "message")
            case {"send_chunk": _}:
                only(effect, "send_chunk", "message")
            case {"done": _}:
                only(only(effect, "done")["done"], optional=("sum", "survivors"))
            case _:
                only(only(effect, "aborted")["aborted"], *REFUSAL)


def read_outcome(outcome):
    match outcome:
        case {"sum": _}:
            only(outcome, "sum", "survivors")
        case {"aborted": _}:
            only(only(outcome, "aborted")["aborted"], *REFUSAL)
        case _:
            only(only(outcome, "refused")["refused"], "party", *REFUSAL)


def values_of(entry):
    if isinstance(entry, list):
        return entry
    rows = range(entry["length"])
    return [(i * entry["multiply"] + entry["add"]) % entry["modulo"] - entry["minus"] for i in rows]


# ------------------------------------------------------------------ two sides in one shape


class Refusal(Exception):
    def __init__(self, reason, code, culprits):
        super().__init__(reason)
        self.json = {"reason": reason, "code": code, "culprits": list(culprits)}


class PackageParty:
    def __init__(self, party):
        self._party = party

    @property
    def phase(self):
        phase = self._party.phase
        return phase if isinstance(phase, str) else phase.value

    def _run(self, act, *arguments):
        try:
            return [self._effect(e) for e in act(*arguments)]
        except PeerError as error:
            raise Refusal(error.reason.name, error.reason.value, error.culprits) from None

    @staticmethod
    def _effect(effect):
        match effect:
            case Persist(mark, phase, members):
                return "persist", mark.value, phase, members
            case SendChunk(recipient, message):
                return "chunk", recipient, message
            case Send(recipient, message):
                return "send", recipient, message
            case Done(None, survivors):
                return "done", None, survivors
            case Done(total, survivors):
                return "done", np.asarray(total).tolist(), survivors
            case Aborted(error):
                return "aborted", error.reason.name, error.culprits

    def start(self):
        return self._run(self._party.start)

    def receive(self, sender, message):
        return self._run(self._party.receive, sender, message)

    def contribute(self, values):
        return self._run(self._party.contribute, np.array(values, dtype=np.int64))

    def advance(self):
        return self._run(self._party.advance)


class ReferenceParty:
    def __init__(self, party, refused):
        self._party = party
        self._refused = refused

    @property
    def phase(self):
        return self._party.phase

    def _run(self, act, *arguments):
        try:
            return act(*arguments)
        except self._refused as refusal:
            raise Refusal(refusal.reason, refusal.code, refusal.culprits) from None

    def start(self):
        return self._run(self._party.start)

    def receive(self, sender, message):
        return self._run(self._party.receive, sender, message)

    def contribute(self, values):
        return self._run(self._party.contribute, values)

    def advance(self):
        return self._run(self._party.advance)


def in_bytes(entry):
    """The entry with hex read, of a plan or a member."""
    hexed = ("round_id", "broadcast", "cohort_root", "salt", "identity_seed", "rand")
    return {k: bytes.fromhex(v) if k in hexed else v for k, v in entry.items()}


def package_side(vectors, vector):
    plan = in_bytes(vector["plan"])
    plan = SumPlan(
        **{**plan, "suite": Suite(plan["suite"]), "adversary": Adversary(plan["adversary"])}
    )
    members = [in_bytes(m) for m in vector["members"]]
    cohort = Cohort(tuple(m["client_id"] for m in members), tuple(m["salt"] for m in members))
    assert cohort.root == plan.cohort_root
    directory = vector["directory"]
    if directory is not None:
        authority = bytes.fromhex(directory["authority"])
        entries = tuple((c, bytes.fromhex(key)) for c, key in directory["entries"])
        directory = Directory(directory["epoch"], entries, bytes.fromhex(directory["signature"]))
        directory.verify(authority)

    def client(member):
        member = in_bytes(member)
        nodes = tuple(bytes.fromhex(node) for node in member["path"])
        membership = Membership(member["index"], member["client_id"], member["salt"], nodes)
        assert membership in cohort.memberships()
        identity = Identity(member["client_id"], SigningKey.from_seed(member["identity_seed"]))
        return PackageParty(
            vectors.protocol.client(
                plan,
                membership,
                identity=identity,
                directory=directory,
                floor=member["floor"],
                rand=member["rand"],
            )
        )

    # The very source that the vector's server drew from, where it drew a ring.
    rng = InsecureTestRng(f"{vectors.folder}/{vector['name']}").child("graph")
    return PackageParty(vectors.protocol.server(plan, cohort, directory, rng=rng)), client


def reference_side(vectors, vector):
    reference = vectors.reference
    plan = reference.Plan(**in_bytes(vector["plan"]))
    members = [in_bytes(m) for m in vector["members"]]
    bare = [reference.Membership(m["index"], m["client_id"], m["salt"], ()) for m in members]
    leaves = [reference.cohort_leaf(m) for m in bare]
    assert reference.merkle_root(leaves) == plan.cohort_root
    memberships = {
        m.client_id: m._replace(path=reference.merkle_path(leaves, i)) for i, m in enumerate(bare)
    }
    directory = vector["directory"]
    if directory is not None:
        parts = [directory["epoch"].to_bytes(8, "big")]
        for client_id, key in directory["entries"]:
            parts += [client_id.encode(), bytes.fromhex(key)]
        authority, signature = (bytes.fromhex(directory[k]) for k in ("authority", "signature"))
        assert reference.verify(authority, signature, b"directory", *parts)
        directory = {c: bytes.fromhex(key) for c, key in directory["entries"]}

    def client(member):
        membership = memberships[member["client_id"]]
        assert [node.hex() for node in membership.path] == member["path"]
        member = in_bytes(member)
        seed, floor, rand = (member[k] for k in ("identity_seed", "floor", "rand"))
        return ReferenceParty(
            reference.Client(
                plan, membership, identity_seed=seed, directory=directory, floor=floor, rand=rand
            ),
            reference.Refused,
        )

    ring = {"ring": vector["ring"] or ()} if "ring" in vector else {}
    server = reference.Server(plan, memberships.values(), directory, **ring)
    return ReferenceParty(server, reference.Refused), client


SIDES = ("package", "reference")


# ------------------------------------------------------------------ effects as JSON


def message_json(message, longest):
    if len(message) <= longest:
        return message.hex()
    return {"sha256": hashlib.sha256(message).hexdigest(), "size": len(message)}


def sum_json(total):
    if len(total) <= LONGEST:
        return total
    return {"sha256": hashlib.sha256(struct.pack(f"<{len(total)}q", *total)).hexdigest()}


def effects_json(effects, longest=LONGEST):
    out = []
    for effect in effects:
        match effect:
            case ("persist", mark, phase, members):
                out.append({"persist": mark, "phase": phase, "members": list(members)})
            case ("send" | "chunk" as verb, recipient, message):
                key = {"send": "send", "chunk": "send_chunk"}[verb]
                body = message_json(message, longest)
                if out and key in out[-1] and out[-1]["message"] == body:
                    out[-1][key].append(recipient)
                else:
                    out.append({key: [recipient], "message": body})
            case ("done", None, _):
                out.append({"done": {}})
            case ("done", total, survivors):
                out.append({"done": {"sum": sum_json(total), "survivors": list(survivors)}})
            case ("aborted", reason, culprits):
                code = Reason[reason].value
                out.append(
                    {"aborted": {"reason": reason, "code": code, "culprits": list(culprits)}}
                )
    return out
