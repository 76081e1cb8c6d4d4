"""The vectors of protocols/homomorphic, replayed by the package, by the reference, and by both.

Encryption draws its own random numbers, so that no side repeats a ciphertext: the vectors begin
with ciphertexts that are kept, and what one side encrypts the other sums and opens.
"""

import ast
import dataclasses
import hashlib
import importlib.util
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

from ceremonies import Shared, ceremony, sent, worker
from fedprivacy.crypto import Suite
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.secagg import (
    SERVER,
    SHARED_KEYS,
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
from fedprivacy.secagg.ceremony import GroupKey
from fedprivacy.secagg.homomorphic import HomomorphicClient
from fedprivacy.secagg.homomorphic.encoding import Marks, slots_of
from fedprivacy.secagg.homomorphic.schemes import SCHEMES, layout_of
from fedprivacy.secagg.homomorphic.structure import check_structure
from fedprivacy.wire import decode
from hostile_ciphertexts import mutants
from secagg_sides import sum_json, values_of

pytest.importorskip("tenseal")

FOLDER = Path(__file__).resolve().parents[2] / "protocols" / "homomorphic"
FILES = sorted((FOLDER / "vectors").glob("*.json"))
LONGEST = 1 << 12
ANY = 1 << 24


def by_path(name):
    spec = importlib.util.spec_from_file_location(f"homomorphic_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = by_path("reference")


def read(path):
    return json.loads(path.read_text())


def kept(name):
    return (FOLDER / "ciphertexts" / name).read_bytes()


def key_of(vector):
    return decode(GroupKey, kept(vector["ceremony"]["clients"]), limit=ANY)


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
                yield "done", None if total is None else total[:].tolist(), survivors
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

    def receive(self, sender, message):
        return self._do(self.party.receive, sender, message)

    def contribute(self, vector):
        return self._do(self.party.contribute, np.array(vector, dtype=np.int64))

    def advance(self):
        return self._do(self.party.advance)


def package_plan(vector):
    told = vector["plan"]
    return SumPlan(
        round_id=bytes.fromhex(told["round_id"]),
        broadcast=bytes(32),
        suite=Suite(1),
        adversary=Adversary.HONEST_BUT_CURIOUS,
        cohort_size=told["cohort_size"],
        cohort_root=bytes(32),
        threshold=1,
        corrupt=0,
        min_clients=told["min_clients"],
        length=told["length"],
        modulus_bits=told["modulus_bits"],
        client_bound=told["client_bound"],
    )


def package_party(vector, entry, *, fresh=False):
    plan, key, scheme = package_plan(vector), key_of(vector), SCHEMES[vector["protocol"]]
    if entry is None:
        names = tuple(e["client_id"] for e in vector["clients"])
        protocol, cohort = SHARED_KEYS[vector["protocol"]], Cohort(names, (bytes(32),) * len(names))
        part = key.server_part
        return Package(protocol.server(plan, cohort, None, rng=None, pool=worker(), admission=part))
    place = Membership(entry["index"], entry["client_id"], bytes(32), ())
    is_sent = entry["sent"] and not fresh
    return Package(
        HomomorphicClient(scheme, plan, place, key=key, floor=entry["floor"], sent=is_sent)
    )


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
            except reference.Refused as refusal:
                raise Refusal(refusal.reason, refusal.code, refusal.culprits) from None

        return act


def reference_plan(vector):
    told = vector["plan"] | {"round_id": bytes.fromhex(vector["plan"]["round_id"])}
    return reference.Plan(protocol=vector["protocol"], **told)


def reference_party(vector, entry, *, fresh=False):
    plan, ceremony_ = reference_plan(vector), vector["ceremony"]
    admission = bytes.fromhex(ceremony_["admission"])
    if entry is None:
        names = [e["client_id"] for e in vector["clients"]]
        return Reference(reference.Server(plan, names, admission=admission))
    # The clients' part is one message: [tag, protocol, admission, membership, context].
    *_, membership, context = reference.secagg.unpack(kept(ceremony_["clients"]))
    assert membership.hex() == ceremony_["membership"]
    return Reference(
        reference.Client(
            plan,
            entry["index"],
            entry["client_id"],
            floor=entry["floor"],
            admission=admission,
            membership=membership,
            context=context,
            sent=entry["sent"] and not fresh,
        )
    )


SIDES = {"package": package_party, "reference": reference_party}


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


def bytes_of(message, said):
    """What a vector's message stands for; `said` is what was sent before, by hash."""
    if isinstance(message, str):
        return bytes.fromhex(message)
    if "sha256" in message:
        return said[message["sha256"]]
    out = b""
    for piece in message["pieces"]:
        if isinstance(piece, str):
            out += bytes.fromhex(piece)
        elif "zeros" in piece:
            out += bytes(piece["zeros"])
        else:
            source = kept(piece["file"]) if "file" in piece else said[piece["sha256"]]
            out += source[piece["from"] : piece["to"]]
    return out


def replay(vector, side_of):
    """Every operation gives what the vector expects, to the byte; `side_of` says who plays whom."""
    entries = {SERVER: None} | {e["client_id"]: e for e in vector["clients"]}
    parties, said = {}, {}
    for operation in vector["operations"]:
        name = operation["party"]
        if name not in parties:
            parties[name] = SIDES[side_of(name)](vector, entries[name])
        party = parties[name]
        assert party.phase == operation["phase"]
        try:
            if operation["operation"] == "advance":
                effects = party.advance()
            else:
                message = bytes_of(operation["message"], said)
                effects = party.receive(operation["sender"], message)
            for effect in effects:
                if effect[0] in {"send", "chunk"}:
                    said[hashlib.sha256(effect[2]).hexdigest()] = effect[2]
            got = effects_json(effects)
        except Refusal as refusal:
            got = refusal.json
        assert got == operation["expect"], (name, operation["operation"])
    check_sum(vector)


def check_sum(vector):
    if "sum" in vector["outcome"]:
        survivors = vector["outcome"]["survivors"]
        chosen = [e for e in vector["clients"] if e["client_id"] in survivors]
        columns = zip(*(values_of(e["input"]) for e in chosen), strict=True)
        assert sum_json([sum(column) for column in columns]) == vector["outcome"]["sum"]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_vector(path, side):
    replay(read(path), lambda _: side)


@pytest.mark.parametrize("protocol", ["bfv", "ckks"])
@pytest.mark.parametrize("server", SIDES)
def test_what_one_side_encrypts_the_other_sums_and_opens(protocol, server):
    """A whole round, encryption included: clients of both sides, with a server of either."""
    vector = read(FOLDER / "vectors" / f"ok_{protocol}.json")
    names = [entry["client_id"] for entry in vector["clients"]]
    sides = dict(zip(names, ("package", "reference", "package"), strict=False))
    parties = {
        entry["client_id"]: SIDES[sides[entry["client_id"]]](vector, entry, fresh=True)
        for entry in vector["clients"]
    }
    hub = SIDES[server](vector, None)
    for entry in vector["clients"]:
        name = entry["client_id"]
        persisted, *chunks = parties[name].contribute(values_of(entry["input"]))
        assert persisted == ("persist", "spent", "input", ())
        for _, _, message in chunks:
            assert hub.receive(name, message) == []
    _, *told = hub.advance()
    for _, name, message in told:
        for effect in parties[name].receive(SERVER, message):
            if effect[0] in {"send", "chunk"}:
                assert hub.receive(name, effect[2]) == []
    (end,) = hub.advance()
    assert sum_json(end[1]) == vector["outcome"]["sum"]
    assert list(end[2]) == names


def test_each_lie_is_told_to_someone_who_notices():
    """A negative holds a refusal or ends without a sum for a reason; a positive neither."""
    for path in FILES:
        vector = read(path)
        refused = any(isinstance(o["expect"], dict) for o in vector["operations"])
        aborted = vector["outcome"].get("aborted", {"reason": "TOO_FEW"})["reason"] != "TOO_FEW"
        assert (refused or aborted) == path.stem.startswith("bad_"), path.stem


def test_a_lie_to_the_server_costs_nobody_else_the_sum():
    for path in FILES:
        vector = read(path)
        told = {o["party"] for o in vector["operations"] if "reason" in o["expect"]}
        if told == {SERVER} and vector["protocol"] == "bfv":
            assert "sum" in vector["outcome"], path.stem


def test_every_reason_has_a_vector():
    shown = set()
    for path in FILES:
        vector = read(path)
        shown |= {o["expect"]["reason"] for o in vector["operations"] if "reason" in o["expect"]}
        shown |= {vector["outcome"].get("aborted", {"reason": "LATE"})["reason"]}
    assert set(reference.REASONS) == shown


def test_slots_and_marks_are_the_same():
    draw = random.Random("slots")
    for protocol in SCHEMES:
        for _ in range(6):
            clients, bound = draw.randint(2, 200), draw.randint(1, 1 << draw.randint(1, 20))
            length = draw.randint(1, 3 * SCHEMES[protocol].slots)
            case = Shared(protocol, 2, length=length, bound=bound, cohort_size=clients)
            plan = reference.Plan(
                protocol, case.plan.round_id, clients, 2, length, 62, case.plan.client_bound
            )
            key, vector = b"m" * 32, case.vectors["c000"]
            theirs = reference.slots_of(plan, key, "c000", vector.tolist())
            layout = layout_of(SCHEMES[protocol], case.plan)
            marks = Marks(layout, key, case.plan.round_id, ("c000",))
            assert list(slots_of(layout, vector, marks)) == theirs


def test_what_does_not_fit_is_the_same():
    draw, case = random.Random("bounds"), Shared("bfv", 2)
    for protocol in SCHEMES:
        for _ in range(100):
            clients, bound = draw.randint(2, 1 << 20), draw.randint(1, 1 << draw.randint(1, 46))
            plan = reference.Plan(protocol, b"", clients, 2, 3, 62, bound)
            try:
                told = dataclasses.replace(case.plan, cohort_size=clients, client_bound=bound)
                ours = layout_of(SCHEMES[protocol], told).joined.count
            except ConfigurationError:
                ours = 0
            assert plan.joined == ours


@pytest.mark.parametrize("protocol", SCHEMES)
def test_the_structure_of_hostile_bytes_is_judged_alike(protocol):
    judged = []
    for mutant in mutants(protocol, 300):
        verdicts = []
        for judge, scheme in (
            (check_structure, SCHEMES[protocol]),
            (reference.check_structure, reference.SCHEMES[protocol]),
        ):
            try:
                judge(scheme, mutant)
                verdicts.append(True)
            except (PeerError, reference.Refused) as error:
                name = error.reason if isinstance(error.reason, str) else error.reason.name
                assert name == "CIPHERTEXT"
                verdicts.append(False)
        assert verdicts[0] == verdicts[1]
        judged.append(verdicts[0])
    assert len(set(judged)) == 2


def test_an_honest_ciphertext_has_the_structure_that_the_reference_asks_for():
    for protocol in SCHEMES:
        (message,) = sent(Shared(protocol, 2).clients["c000"].contribute(np.zeros(3, np.int64)))
        chunk = reference.decode(message, ANY, reference.Ciphertext)
        reference.check_structure(reference.SCHEMES[protocol], chunk.data)
        key = reference.admission_key(
            reference.Plan(protocol, b"r" * 32, 2, 2, 3, 62, 1000), ceremony(protocol).admission
        )
        assert reference.tag_of(key, 0, 0, chunk.data) == chunk.mac


def test_regeneration_changes_nothing():
    rendered = by_path("generate").render()
    on_disk = {
        str(path.relative_to(FOLDER)): path.read_text()
        for path in [FOLDER / "messages.schema.json", *FILES]
    }
    assert sorted(rendered) == sorted(on_disk)
    for path, text in rendered.items():
        assert text == on_disk[path], f"{path}: run protocols/homomorphic/generate.py"


def test_reference_shares_no_code():
    imported = set()
    for node in ast.walk(ast.parse((FOLDER / "reference.py").read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    standard = {"functools", "hashlib", "hmac", "importlib", "pathlib", "struct", "typing"}
    assert imported == {*standard, "tenseal"}


def test_specification_registers_the_same_codes():
    text = (FOLDER / "SPEC.md").read_text()
    rows = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", text, re.MULTILINE)
    specified = {name: int(code) for code, name in rows}
    assert specified == reference.REASONS
    assert specified == {name: Reason[name].value for name in specified}
