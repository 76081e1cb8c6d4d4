"""The package and the reference as two sides of one shape, and the vectors of protocols/round.

Each input of a party gives what the vectors write: effects in their order, a store's marks among
them, and a refusal or none.
"""

import copy
import hashlib
import importlib.util
import json
import math
import shutil
import struct
from pathlib import Path

import msgspec
import numpy as np

from fedprivacy.crypto import Directory, Identity, SigningKey
from fedprivacy.errors import (
    BudgetExhausted,
    ConfigurationError,
    PeerError,
    PolicyRefused,
    Reason,
)
from fedprivacy.ledger import ClientStore, SignedHead
from fedprivacy.rounds import ClientPolicy, Plan, RoundClient, RoundPlan, RoundServer
from fedprivacy.rounds.policy import BudgetLimit, Requirements
from fedprivacy.secagg import SERVER, Aborted, Cohort, Done, Persist, Send, SendChunk
from fedprivacy.vector import Update

FOLDER = Path(__file__).resolve().parents[2] / "protocols" / "round"
FILES = sorted((FOLDER / "vectors").glob("*.json"))
LONGEST = 1 << 14  # bytes, or values, that a vector spells out


def by_path(name):
    """A script of the folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"round_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = by_path("reference")


# ------------------------------------------------------------------ reading vectors


def only(value, *keys, optional=()):
    """The value itself; unknown and missing keys are fatal."""
    assert set(keys) <= set(value) <= {*keys, *optional}, f"keys {sorted(value)}"
    return value


REFUSAL = ("reason", "code", "culprits")
NOTES = {"ok": ("shows",), "bad": ("lie", "effect")}
OPERATIONS = {
    "invite": ("attempt", "members"),
    "receive": ("attempt", "sender", "message"),
    "contribute": ("attempt",),
    "advance": ("attempt",),
    "settle": ("attempt", "ledger"),
    "copy_store": (),
    "put_store_back": (),
    "store": ("call",),
}
CALLS = {
    "directory": ("epoch", "digest"),
    "begin": ("run_id", "round", "attempt", "terms"),
    "spent": ("run_id", "round", "attempt"),
    "answered": ("run_id", "round", "broadcast", "survivors", "floor"),
}
COMMITS = {
    "directory": ("epoch", "digest"),
    "begin": (),
    "head": ("number",),
    "spent": (),
    "answered": ("survivors",),
}


def read_vector(path):
    vector = only(
        json.loads(path.read_text()),
        *("schema", "version", "source", "name", "note", "clients", "attempts"),
        *("operations", "outcome"),
    )
    assert vector["schema"] == "fedprivacy/round-vector/1"
    assert vector["version"] == "draft-1"
    assert vector["source"] == "protocols/round/generate.py"
    assert vector["name"] == path.stem
    only(vector["note"], *NOTES[path.stem.split("_")[0]])
    for client in vector["clients"]:
        only(client, "client_id", "identity_seed", "authority", "policy", "budget", "accounts")
        only(client["accounts"], "all_rounds", "holds")
    for attempt in vector["attempts"]:
        keys = ("round_plan", "cohort", "directory", "broadcast", "ledger", "noise")
        only(attempt, *keys, "members", "derived")
        only(attempt["noise"], "seed", "drawn")
        only(attempt["round_plan"], *reference.RoundPlan._fields)
        only(attempt["derived"], *DERIVED)
        for member in attempt["members"].values():
            only(member, "rand", "encoding", "noise", "update")
            only(member["noise"], "seed", "drawn")
            only(member["update"], "values", "weight")
            member["update"]["values"] = real(member["update"]["values"])
    for operation in vector["operations"]:
        read_operation(operation)
    return vector


def real(values):
    """Numbers, in lists or not; null is what is none."""
    if isinstance(values, list):
        return [real(value) for value in values]
    return math.nan if values is None else values


def read_operation(operation):
    given = OPERATIONS[operation["operation"]]
    if operation["operation"] == "store":
        given += CALLS[operation["call"]]
    after = ("after",) if operation["party"] == SERVER else ()
    only(operation, "operation", "party", "expect", *given, *after, optional=("refused",))
    if after:
        only(operation["after"], "phase", "waiting", "refused", "answers", "unmasking")
    if "refused" in operation:
        only(operation["refused"], *REFUSAL)
    for effect in operation["expect"]:
        match effect:
            case {"commit": what}:
                only(effect, "commit", *COMMITS[what])
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


def vector_of(name):
    return read_vector(FOLDER / "vectors" / f"{name}.json")


def message_of(entry):
    """The bytes of a message, which counts long runs of one byte."""
    if isinstance(entry, str):
        return bytes.fromhex(entry)
    return b"".join(
        bytes.fromhex(part)
        if isinstance(part, str)
        else bytes.fromhex(only(part, "byte", "count")["byte"]) * part["count"]
        for part in entry
    )


# ------------------------------------------------------------------ effects as JSON


def shown(message):
    """A message as it is compared: long ones by their hash."""
    if len(message) <= LONGEST:
        return message.hex()
    return hashlib.sha256(message).hexdigest()


def sum_json(total):
    values = total["values"]
    if len(values) > LONGEST:
        doubles = struct.pack(f"<{len(values)}d", *values)
        return total | {"values": {"sha256": hashlib.sha256(doubles).hexdigest()}}
    return total


def in_digits(done):
    """How a round ended, the reals of its sum in 12 digits: a rotation adds them in any order."""
    if "sum" not in done:
        return done
    reals = {
        key: [float(f"{x:.12g}") for x in value] if isinstance(value, list) else value
        for key, value in done["sum"].items()
    }
    if "next_clip" in reals:
        reals["next_clip"] = float(f"{reals['next_clip']:.12g}")
    return done | {"sum": reals}


def effects_json(effects):
    """Effects as the reference writes them, one message to several in a row as one."""
    out = []
    for effect in effects:
        match effect:
            case ("commit", what, details):
                out.append({"commit": what, **details})
            case ("persist", mark, phase, members):
                out.append({"persist": mark, "phase": phase, "members": list(members)})
            case ("send" | "chunk" as verb, recipient, message):
                key, body = {"send": "send", "chunk": "send_chunk"}[verb], shown(message)
                if out and key in out[-1] and out[-1]["message"] == body:
                    out[-1][key].append(recipient)
                else:
                    out.append({key: [recipient], "message": body})
            case ("done", None, _):
                out.append({"done": {}})
            case ("done", total, survivors):
                done = {"sum": sum_json(total), "survivors": list(survivors)}
                out.append({"done": in_digits(done)})
            case ("aborted", reason, culprits):
                out.append({"aborted": refusal_json(reason, culprits)})
    return out


def refusal_json(reason, culprits=()):
    return {"reason": reason, "code": Reason[reason].value, "culprits": list(culprits)}


def expected_effects(effects):
    """A vector's effects, their messages as they are compared."""
    return [
        e | {"message": shown(message_of(e["message"]))}
        if "message" in e
        else e | {key: in_digits(e[key]) for key in e.keys() & {"done"}}
        for e in effects
    ]


def verdict(act):
    """What an act gives, or the name of the reason for which it is refused."""
    try:
        return act()
    except (PeerError, PolicyRefused) as error:
        return error.reason.name
    except reference.secagg.Refused as refusal:
        return refusal.reason


# ------------------------------------------------------------------ the package's side


class ScriptedRng:
    """The bytes that a vector gives to one party of one attempt, by purpose."""

    def __init__(self, **parts):
        self._parts = {purpose.replace("_", "-"): part for purpose, part in parts.items()}

    def child(self, purpose):
        return ScriptedBytes(self._parts[purpose])


class ScriptedBytes:
    def __init__(self, parts):
        self._parts = [bytes.fromhex(part) for part in parts]

    def bytes(self, count):
        part = self._parts.pop(0)
        assert len(part) == count
        return part


class ToldStore:
    """A store of the package that tells what it has committed, in the reference's words."""

    def __init__(self, store):
        self.store, self.told = store, []

    def authority(self):
        return self.store.authority()

    def together(self):
        return self.store.together()

    def _tell(self, what, **details):
        self.told.append(("commit", what, details))

    def observe_directory(self, epoch, digest):
        self.store.observe_directory(epoch, digest)
        self._tell("directory", epoch=epoch, digest=digest.hex())

    def begin(self, *what, terms):
        self.store.begin(*what, terms=terms)
        self._tell("begin")

    def check_affordable(self, *what):
        self.store.check_affordable(*what)

    def keep_receipt(self, head, *, after):
        self.store.keep_receipt(head, after=after)
        self._tell("head", number=head.number)

    def keep_head(self, head, *, operator):
        self.store.keep_head(head, operator=operator)
        self._tell("head", number=head.number)

    def mark_spent(self, *what, **how):
        self.store.mark_spent(*what, **how)
        self._tell("spent")

    def mark_answered(self, run_id, number, attempt, broadcast, survivors, floor):
        self.store.mark_answered(run_id, number, attempt, broadcast, survivors, floor)
        self._tell("answered", survivors=sorted(survivors))


class PackageStore:
    def __init__(self, entry, folder):
        self.path, anchor = ":memory:", None
        if folder is not None:
            (folder / "anchors").mkdir(exist_ok=True)
            self.path, anchor = folder / entry["client_id"], folder / "anchors" / entry["client_id"]
            self.copy = self.path.with_suffix(".copy")
        store = ClientStore(self.path, anchor=anchor)
        if entry["authority"] is not None:
            store.pin_authority(bytes.fromhex(entry["authority"]))
        self.recorder = ToldStore(store)

    def close(self):
        self.recorder.store.close()

    def set_aside(self):
        shutil.copyfile(self.path, self.copy)

    def put_back(self):
        shutil.copyfile(self.copy, self.path)

    def call(self, call, what):
        store, where = self.recorder, (what.get("run_id"), what.get("round"))
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
        return pulled(iter_of(calls[call]), store)


def iter_of(act):
    """An act that yields nothing, as a stream."""
    act()
    yield from ()


def pulled(stream, store=None, server=None):
    """Everything that a party does on one input, and why it refused, if it did."""
    effects, refused = [], None
    try:
        for effect in stream:
            effects += drained(store)
            effects.append(in_words(effect, server))
    except BudgetExhausted:
        refused = refusal_json("BUDGET")
    except (PeerError, PolicyRefused, ConfigurationError) as error:
        refused = refusal_json(
            getattr(error, "reason", Reason.FAILED).name, getattr(error, "culprits", ())
        )
    return effects + drained(store), refused


def drained(store):
    if store is None:
        return []
    told, store.told = store.told, []
    return told


def in_words(effect, server):
    match effect:
        case Persist(mark, phase, members):
            return "persist", mark.value, phase, members
        case SendChunk(recipient, message):
            return "chunk", recipient, message
        case Send(recipient, message):
            return "send", recipient, message
        case Done(None, ()):
            return "done", None, ()
        case Done(_, survivors):
            total = server.aggregate
            decoded = {"values": total.sum.tolist(), "weight": total.weight}
            if server.plan.adaptive.quantile:
                decoded["next_clip"] = server.next_clip
            return "done", decoded, survivors
        case Aborted(error):
            return "aborted", error.reason.name, error.culprits
    raise TypeError(effect)


class PackageClient:
    def __init__(self, entry, store, member):
        identity = Identity(
            entry["client_id"], SigningKey.from_seed(bytes.fromhex(entry["identity_seed"]))
        )
        policy = ClientPolicy(
            require=msgspec.convert(entry["policy"], Requirements),
            budget=msgspec.convert(entry["budget"], dict[str, BudgetLimit]),
        )
        self.store = store.recorder
        # The noise's seed is drawn after those of the rounding.
        seeds = [*member["encoding"], member["noise"]["seed"]]
        rng = ScriptedRng(round_secrets=[member["rand"]], encoding=seeds)
        self.client = RoundClient(policy, identity, self.store, rng=rng)

    def receive(self, sender, message):
        return pulled(self.client.receive(sender, message), self.store)

    def contribute(self, values, weight):
        update = Update(np.array(values, dtype=np.float64), weight)
        return pulled(self.client.contribute(update), self.store)


def package_plan(entry):
    fields = {
        name: bytes.fromhex(value) if isinstance(value, str) else value
        for name, value in entry.items()
    }
    return RoundPlan(**fields | {"plan": msgspec.convert(entry["plan"], Plan)})


class PackageServer:
    def __init__(self, attempt):
        names, salts = zip(*attempt["cohort"], strict=True)
        cohort = Cohort(names, tuple(map(bytes.fromhex, salts)))
        plan = package_plan(attempt["round_plan"])
        assert cohort.root == plan.cohort_root
        data = bytes.fromhex(attempt["directory"])
        directory = Directory.decode(data) if data else None
        broadcast = bytes.fromhex(attempt["broadcast"])
        # No protocol of these vectors draws a graph.
        rng = ScriptedRng(noise=[attempt["noise"]["seed"]])
        data = bytes.fromhex(attempt["ledger"])
        head = SignedHead.decode(data) if data else None
        self.server = RoundServer(plan, cohort, directory, broadcast, rng=rng, ledger=head)

    def invite(self, members):
        return pulled(self.server.invite(members))

    def receive(self, sender, message):
        return pulled(self.server.receive(sender, message), server=self.server)

    def advance(self):
        return pulled(self.server.advance(), server=self.server)

    def settle(self, ledger):
        return pulled(self.server.settled(SignedHead.decode(ledger)))

    def after(self):
        return {
            "phase": self.server.phase,
            "waiting": sorted(self.server.waiting_for),
            "refused": {c: reason.name for c, reason in self.server.refused.items()},
            "answers": self.server.answers_requested,
            "unmasking": self.server.unmasking_requested,
        }


DERIVED = ("round_id", "terms", "plan_digest", "total_length", "client_bound")


def package_derived(attempt):
    plan = package_plan(attempt["round_plan"])
    plan.check()
    return {
        "round_id": plan.round_id.hex(),
        "terms": plan.terms.hex(),
        "plan_digest": plan.plan.digest().hex(),
        "total_length": plan.pipeline.total_length,
        "client_bound": plan.pipeline.client_bound,
    }


# ------------------------------------------------------------------ the reference's side


class ReferenceStore:
    def __init__(self, entry, folder):
        authority = entry["authority"]
        self.store = reference.Store(authority and bytes.fromhex(authority))

    def close(self):
        pass

    def set_aside(self):
        self.copy = copy.deepcopy(self.store.history)

    def put_back(self):
        self.store.history = self.copy

    def call(self, call, what):
        store, where = self.store, (what.get("run_id"), what.get("round"))
        calls = {
            "directory": lambda: store.observe_directory(what["epoch"], what["digest"]),
            "begin": lambda: store.begin(*where, what["attempt"], what["terms"]),
            "spent": lambda: store.mark_spent(*where, what["attempt"]),
            "answered": lambda: store.mark_answered(
                *where, what["broadcast"], what["survivors"], what["floor"]
            ),
        }
        details = {
            "directory": lambda: {"epoch": what["epoch"], "digest": what["digest"].hex()},
            "answered": lambda: {"survivors": sorted(what["survivors"])},
        }
        try:
            calls[call]()
        except reference.Refused as refusal:
            return [], refusal_json(refusal.reason)
        return [("commit", call, details.get(call, dict)())], None


def answered(answer):
    refusal = answer.refusal
    if refusal is None:
        return answer.effects, None
    assert refusal.code == Reason[refusal.reason].value
    return answer.effects, refusal_json(refusal.reason, refusal.culprits)


class ReferenceClient:
    def __init__(self, entry, store, member):
        self.client = reference.Client(
            entry,
            store=store.store,
            rand=bytes.fromhex(member["rand"]),
            encoding=[bytes.fromhex(seed) for seed in member["encoding"]],
            noise=member["noise"]["drawn"],
        )

    def receive(self, sender, message):
        return answered(self.client.receive(sender, message))

    def contribute(self, values, weight):
        return answered(self.client.contribute(values, weight))


class ReferenceServer:
    def __init__(self, attempt):
        plan = reference.RoundPlan.of_json(attempt["round_plan"])
        place = reference.secagg.Membership
        bare = [
            place(i, name, bytes.fromhex(salt), ())
            for i, (name, salt) in enumerate(attempt["cohort"])
        ]
        leaves = [reference.secagg.cohort_leaf(member) for member in bare]
        assert reference.secagg.merkle_root(leaves) == plan.cohort_root
        places = [
            member._replace(path=reference.secagg.merkle_path(leaves, member.index))
            for member in bare
        ]
        told = (bytes.fromhex(attempt[k]) for k in ("directory", "broadcast", "ledger"))
        self.server = reference.Server(plan, places, *told, attempt["noise"]["drawn"])

    def invite(self, members):
        return answered(self.server.invite(members))

    def receive(self, sender, message):
        return answered(self.server.receive(sender, message))

    def advance(self):
        return answered(self.server.advance())

    def settle(self, ledger):
        return answered(self.server.settle(ledger))

    def after(self):
        return {
            "phase": self.server.phase,
            "waiting": self.server.waiting_for(),
            "refused": self.server.refused,
            "answers": self.server.answers,
            "unmasking": self.server.unmasking,
        }


def reference_derived(attempt):
    plan = reference.RoundPlan.of_json(attempt["round_plan"])
    reference.check_round_plan(plan)
    pipeline = reference.Pipeline(plan)
    return {
        "round_id": reference.round_id(plan).hex(),
        "terms": reference.terms(plan).hex(),
        "plan_digest": reference.plan_digest(plan.plan).hex(),
        "total_length": pipeline.total_length,
        "client_bound": pipeline.client_bound,
    }


# ------------------------------------------------------------------ a run of parties


SIDES = {
    "package": (PackageStore, PackageClient, PackageServer, package_derived),
    "reference": (ReferenceStore, ReferenceClient, ReferenceServer, reference_derived),
}


class Parties:
    """A vector's parties, made as they are first needed; `side_of` says on which side each is."""

    def __init__(self, vector, folder, side_of):
        self.vector, self.side_of = vector, side_of
        self.entries = {entry["client_id"]: entry for entry in vector["clients"]}
        # In memory, unless the vector puts the file back.
        files = any(o["operation"] == "copy_store" for o in vector["operations"])
        self.stores = {
            name: SIDES[side_of(name)][0](entry, folder if files else None)
            for name, entry in self.entries.items()
        }
        self.made = {}

    def close(self):
        for store in self.stores.values():
            store.close()

    def party(self, number, name):
        if (number, name) not in self.made:
            attempt = self.vector["attempts"][number]
            _, client, server, _ = SIDES[self.side_of(name)]
            self.made[number, name] = (
                server(attempt)
                if name == SERVER
                else client(self.entries[name], self.stores[name], attempt["members"][name])
            )
        return self.made[number, name]

    def perform(self, operation):
        """Effects of one operation as tuples, and the refusal or None."""
        name = operation["party"]
        match operation["operation"]:
            case "copy_store":
                self.stores[name].set_aside()
                return [], None
            case "put_store_back":
                self.stores[name].put_back()
                return [], None
            case "store":
                binary = {"digest", "terms", "run_id", "broadcast"}
                what = {
                    key: bytes.fromhex(operation[key]) if key in binary else operation[key]
                    for key in CALLS[operation["call"]]
                }
                return self.stores[name].call(operation["call"], what)
        party = self.party(operation["attempt"], name)
        match operation["operation"]:
            case "invite":
                return party.invite(operation["members"])
            case "receive":
                return party.receive(operation["sender"], message_of(operation["message"]))
            case "contribute":
                update = self.vector["attempts"][operation["attempt"]]["members"][name]["update"]
                return party.contribute(update["values"], update["weight"])
            case "advance":
                return party.advance()
            case "settle":
                return party.settle(bytes.fromhex(operation["ledger"]))
        raise ValueError(operation["operation"])
