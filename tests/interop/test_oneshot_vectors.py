"""The vectors of protocols/oneshot, replayed by the package, by the reference, and by both."""

import ast
import hashlib
import importlib.util
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

from fedprivacy.arithmetic import modulus_bits
from fedprivacy.crypto import Directory, Identity, SigningKey, Suite
from fedprivacy.errors import PeerError, Reason
from fedprivacy.secagg import (
    SERVER,
    Aborted,
    Adversary,
    Cohort,
    CommitteePlan,
    Done,
    Membership,
    OneShot,
    Persist,
    Send,
    SendChunk,
    SumPlan,
)
from fedprivacy.secagg.oneshot import choose_parameters
from secagg_sides import sum_json, values_of

FOLDER = Path(__file__).resolve().parents[2] / "protocols" / "oneshot"
FILES = sorted((FOLDER / "vectors").glob("*.json"))
LONGEST = 1 << 12


def by_path(name):
    spec = importlib.util.spec_from_file_location(f"oneshot_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = by_path("reference")


def read(path):
    return json.loads(path.read_text())


class Refusal(Exception):
    def __init__(self, reason, code, culprits):
        super().__init__(reason)
        self.json = {"reason": reason, "code": code, "culprits": list(culprits)}


# ------------------------------------------------------------------ the package


def tuples(effects):
    for effect in effects:
        match effect:
            case Persist(mark, phase, members):
                yield "persist", mark.value, phase, members
            case Send(recipient, message):
                yield ("chunk" if isinstance(effect, SendChunk) else "send"), recipient, message
            case Done(total, survivors):
                yield "done", None if total is None else np.asarray(total).tolist(), survivors
            case Aborted(error):
                yield "aborted", error.reason.name, error.culprits


class Package:
    """One party of the package, in the reference's shape."""

    def __init__(self, party):
        self.party = party

    @property
    def phase(self):
        phase = self.party.phase
        return phase if isinstance(phase, str) else phase.value

    def _do(self, act, *arguments):
        try:
            return list(tuples(act(*arguments)))
        except PeerError as error:
            raise Refusal(error.reason.name, error.reason.value, error.culprits) from None

    def start(self):
        return self._do(self.party.start)

    def receive(self, sender, message):
        return self._do(self.party.receive, sender, message)

    def contribute(self, vector):
        return self._do(self.party.contribute, np.array(vector, dtype=np.int64))

    def advance(self):
        return self._do(self.party.advance)


def place(entry):
    path = tuple(bytes.fromhex(node) for node in entry["path"])
    return Membership(entry["index"], entry["client_id"], bytes.fromhex(entry["salt"]), path)


def package_plan(vector):
    told, committee = vector["plan"], vector["plan"]["committee"]
    return SumPlan(
        round_id=bytes.fromhex(told["round_id"]),
        broadcast=bytes.fromhex(told["broadcast"]),
        suite=Suite(1),
        adversary=Adversary.MALICIOUS,
        cohort_size=told["cohort_size"],
        cohort_root=bytes.fromhex(told["cohort_root"]),
        threshold=1,
        corrupt=told["corrupt"],
        min_clients=told["min_clients"],
        length=told["length"],
        modulus_bits=modulus_bits(told["cohort_size"] * told["client_bound"]),
        client_bound=told["client_bound"],
        committee=CommitteePlan(
            bytes.fromhex(committee["root"]),
            committee["size"],
            committee["threshold"],
            committee["corrupt"],
            tuple(committee["members"]),
        ),
    )


def package_parties(vector):
    plan = package_plan(vector)
    authority = SigningKey.from_seed(b"a" * 32)
    keys = [(name, bytes.fromhex(key)) for name, key in vector["directory"]["entries"]]
    directory = Directory.sign(1, keys, authority)

    def own(entry):
        seed = bytes.fromhex(entry["identity_seed"])
        return {
            "identity": Identity(entry["client_id"], SigningKey.from_seed(seed)),
            "directory": directory,
            "floor": entry["floor"],
            "rand": bytes.fromhex(entry["rand"]),
        }

    def cohort(entries):
        names = tuple(e["client_id"] for e in entries)
        return Cohort(names, tuple(bytes.fromhex(e["salt"]) for e in entries))

    def make(role, entry):
        if role == "server":
            both = cohort(vector["clients"]), cohort(vector["members"])
            server = OneShot.server(plan, both[0], directory, rng=None, committee=both[1])
            return Package(server)
        of_role = OneShot.client if role == "client" else OneShot.member
        return Package(of_role(plan, place(entry), **own(entry)))

    return make


# ------------------------------------------------------------------ the reference


class Reference:
    """One party of the reference; its refusals as the package's."""

    def __init__(self, party):
        self.party = party

    def __getattr__(self, name):
        found = getattr(self.party, name)
        if not callable(found):
            return found

        def act(*arguments):
            try:
                return found(*arguments)
            except reference.secagg.Refused as refusal:
                raise Refusal(refusal.reason, refusal.code, refusal.culprits) from None

        return act


def reference_plan(vector):
    told = {
        key: bytes.fromhex(value) if isinstance(value, str) else value
        for key, value in vector["plan"].items()
    }
    committee = told["committee"]
    told["committee"] = reference.CommitteePlan(
        bytes.fromhex(committee["root"]),
        committee["size"],
        committee["threshold"],
        committee["corrupt"],
        tuple(committee["members"]),
    )
    return reference.Plan(**told)


def reference_parties(vector):
    plan = reference_plan(vector)
    directory = {name: bytes.fromhex(key) for name, key in vector["directory"]["entries"]}

    def theirs(entry):
        path = tuple(bytes.fromhex(node) for node in entry["path"])
        salt = bytes.fromhex(entry["salt"])
        return reference.secagg.Membership(entry["index"], entry["client_id"], salt, path)

    def make(role, entry):
        if role == "server":
            places = [theirs(e) for e in vector["clients"]]
            seats = [theirs(e) for e in vector["members"]]
            return Reference(reference.Server(plan, places, seats, directory))
        of_role = reference.Client if role == "client" else reference.Member
        return Reference(
            of_role(
                plan,
                theirs(entry),
                identity_seed=bytes.fromhex(entry["identity_seed"]),
                directory=directory,
                floor=entry["floor"],
                rand=bytes.fromhex(entry["rand"]),
            )
        )

    return make


SIDES = {"package": package_parties, "reference": reference_parties}


# ------------------------------------------------------------------ replay


def message_json(message):
    if len(message) <= LONGEST:
        return message.hex()
    return {"sha256": hashlib.sha256(message).hexdigest(), "size": len(message)}


def effects_json(effects):
    out = []
    for effect in effects:
        match effect:
            case ("persist", mark, phase, names):
                out.append({"persist": mark, "phase": phase, "members": list(names)})
            case ("send" | "chunk" as verb, recipient, message):
                verb = {"send": "send", "chunk": "send_chunk"}[verb]
                body = message_json(message)
                if out and verb in out[-1] and out[-1]["message"] == body:
                    out[-1][verb].append(recipient)
                else:
                    out.append({verb: [recipient], "message": body})
            case ("done", None, _):
                out.append({"done": {}})
            case ("done", total, survivors):
                out.append({"done": {"sum": sum_json(total), "survivors": list(survivors)}})
            case ("aborted", reason, culprits):
                told = {"reason": reason, "code": reference.REASONS[reason]}
                out.append({"aborted": told | {"culprits": list(culprits)}})
    return out


def replay(vector, side_of):
    """Every operation gives what the vector expects, to the byte; `side_of` says who plays whom."""
    makers = {side: make(vector) for side, make in SIDES.items()}
    entries = {("server", SERVER): None}
    entries |= {("client", e["client_id"]): e for e in vector["clients"]}
    entries |= {("member", e["client_id"]): e for e in vector["members"]}
    parties, sent = {}, {}
    for operation in vector["operations"]:
        who = operation["role"], operation["party"]
        if who not in parties:
            parties[who] = makers[side_of(who)](who[0], entries[who])
        party = parties[who]
        assert party.phase == operation["phase"]
        try:
            effects = perform(party, operation, entries[who], sent)
            got = effects_json(effects)
        except Refusal as refusal:
            got = refusal.json
        assert got == operation["expect"], (who, operation["operation"])
    if "sum" in vector["outcome"]:
        survivors = vector["outcome"]["survivors"]
        chosen = [e for e in vector["clients"] if e["client_id"] in survivors]
        columns = zip(*(values_of(e["input"]) for e in chosen), strict=True)
        assert sum_json([sum(column) for column in columns]) == vector["outcome"]["sum"]


def perform(party, operation, entry, sent):
    match operation["operation"]:
        case "start":
            effects = party.start()
        case "contribute":
            effects = party.contribute(values_of(entry["input"]))
        case "advance":
            effects = party.advance()
        case _:
            message = operation["message"]
            data = sent[message["sha256"]] if isinstance(message, dict) else bytes.fromhex(message)
            effects = party.receive(operation["sender"], data)
    for effect in effects:
        if effect[0] in {"send", "chunk"}:
            sent[hashlib.sha256(effect[2]).hexdigest()] = effect[2]
    return effects


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_vector(path, side):
    replay(read(path), lambda _: side)


@pytest.mark.parametrize("role", ["server", "client", "member"])
def test_a_reference_among_packages_and_a_package_among_references(role):
    for name in ("ok_clients_are_members", "ok_client_without_shares"):
        vector = read(FOLDER / "vectors" / f"{name}.json")
        for one, others in (("reference", "package"), ("package", "reference")):
            replay(vector, lambda who, one=one, rest=others: one if who[0] == role else rest)


def test_each_lie_is_told_to_someone_who_notices():
    """A negative holds a refusal or ends without a sum for a reason; a positive neither."""
    for path in FILES:
        vector = read(path)
        refused = any(isinstance(o["expect"], dict) for o in vector["operations"])
        aborted = vector["outcome"].get("aborted", {"reason": "TOO_FEW"})["reason"] != "TOO_FEW"
        assert (refused or aborted) == path.stem.startswith("bad_"), path.stem


def test_every_reason_has_a_vector():
    """But for those of a round, which are refused before there is a party."""
    shown = set()
    for path in FILES:
        vector = read(path)
        shown |= {o["expect"]["reason"] for o in vector["operations"] if "reason" in o["expect"]}
        shown |= {vector["outcome"].get("aborted", {"reason": "LATE"})["reason"]}
    assert set(reference.REASONS) - shown == {"POLICY_COMMITTEE", "COMMITTEE"}


def test_parameters_are_the_same():
    draw = random.Random("parameters")
    for _ in range(300):
        n, bound = (
            draw.randint(2, 1 << draw.randint(2, 20)),
            draw.randint(1, 1 << draw.randint(1, 30)),
        )
        length = draw.randint(1, 10 ** draw.randint(1, 8))
        theirs = reference.parameters_of(n, bound, length)
        try:
            ours = choose_parameters(n, bound, length)
        except Exception:  # noqa: BLE001 - none there
            assert theirs is None
            continue
        told = (ours.bits, ours.values.count, ours.values.base, ours.scale, ours.most_error)
        last = ours.coefficients - (ours.polynomials - 1) * ours.degree
        told += (ours.keys.count, ours.keys.base, ours.polynomials, last, ours.key_elements)
        assert told == tuple(theirs)


def test_the_product_is_the_schoolbook_one():
    draw = random.Random("product")
    for n, top in ((1, 1), (2, 1 << 62), (64, 1 << 62), (200, 1 << 40)):
        a = [draw.randrange(top) for _ in range(n)]
        s = [draw.randint(-42 * 1000, 42 * 1000) for _ in range(n)]
        assert reference.product(a, s) == reference.schoolbook(a, s)


def test_regeneration_changes_nothing():
    rendered = by_path("generate").render()
    on_disk = {
        str(path.relative_to(FOLDER)): path.read_text()
        for path in [FOLDER / "messages.schema.json", *FILES]
    }
    assert sorted(rendered) == sorted(on_disk)
    for path, text in rendered.items():
        assert text == on_disk[path], f"{path}: run protocols/oneshot/generate.py"


def test_reference_shares_no_code():
    imported = set()
    for node in ast.walk(ast.parse((FOLDER / "reference.py").read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported == {
        *("collections", "hashlib", "importlib", "itertools", "math", "pathlib", "typing"),
    }


def test_specification_registers_the_same_codes():
    text = (FOLDER / "SPEC.md").read_text()
    rows = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", text, re.MULTILINE)
    specified = {name: int(code) for code, name in rows}
    assert specified == reference.REASONS
    assert specified == {name: Reason[name].value for name in specified}
