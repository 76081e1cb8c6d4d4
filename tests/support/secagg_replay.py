"""Replays the vectors of a masking protocol, and runs cohorts of both sides."""

import hashlib
import re

from hypothesis import strategies as st

from fedprivacy.errors import PeerError
from fedprivacy.secagg import SERVER
from fedprivacy.wire import decode
from secagg_sides import LONGEST, Refusal, effects_json, sum_json, values_of

# ------------------------------------------------------------------ replay


def expected_sum(vector, survivors):
    bits = vector["plan"]["modulus_bits"]
    inputs = [values_of(m["input"]) for m in vector["members"] if m["client_id"] in survivors]
    half = 1 << bits - 1
    return [(sum(column) + half) % (1 << bits) - half for column in zip(*inputs, strict=True)]


def replay(vectors, vector, side):
    """Every operation gives what the vector expects, to the byte, and ends in its outcome."""
    server, client = vectors.sides(vector)[side]
    members = {m["client_id"]: m for m in vector["members"]}
    longest = vector.get("longest", LONGEST)
    parties = {SERVER: server}
    sent = {}
    outcome = None
    for operation in vector["operations"]:
        name = operation["party"]
        if name not in parties:
            parties[name] = client(members[name])
        assert parties[name].phase == operation["phase"]
        try:
            effects = perform(parties[name], operation, members, sent)
            got = effects_json(effects, longest)
            outcome = outcome or ending(got)
        except Refusal as refusal:
            got = refusal.json
            if name != SERVER:
                outcome = outcome or {"refused": {"party": name, **got}}
        assert got == operation["expect"], operation["operation"]
    if outcome is not None:
        assert outcome == vector["outcome"]
    if "sum" in vector["outcome"]:
        total = expected_sum(vector, vector["outcome"]["survivors"])
        assert sum_json(total) == vector["outcome"]["sum"]


def perform(party, operation, members, sent):
    """Does one operation; `sent` remembers messages by hash, for those not spelled out."""
    match operation["operation"]:
        case "start":
            effects = party.start()
        case "receive":
            message = operation["message"]
            data = sent[message["sha256"]] if isinstance(message, dict) else bytes.fromhex(message)
            effects = party.receive(operation["sender"], data)
        case "contribute":
            effects = party.contribute(values_of(members[operation["party"]]["input"]))
        case "advance":
            effects = party.advance()
    for effect in effects:
        if effect[0] in {"send", "chunk"}:
            sent[hashlib.sha256(effect[2]).hexdigest()] = effect[2]
    return effects


def ending(effects):
    """The outcome that these effects of the server's are, if they are one."""
    match effects:
        case [*_, {"done": {"sum": _} as done}]:
            return done
        case [*_, {"aborted": _} as aborted]:
            return aborted
    return None


# ------------------------------------------------------------------ mixed cohorts

COHORTS = {
    "reference-server": ("reference", {}),
    "package-server": ("package", dict.fromkeys(("c000", "c001", "c002", "c003"), "reference")),
    "half-and-reference": ("reference", {"c001": "reference", "c002": "reference"}),
    "half-and-package": ("package", {"c000": "reference", "c003": "reference"}),
}
PHASES = ("keys", "shares", "input", "consistency", "unmasking")
DROPS = [None, *((phase, victim) for phase in PHASES for victim in ("c000", "c002"))]


def run_cohort(vectors, vector, cohort, drop):
    """The verdict, the sum and the survivors of a cohort with parties of both sides."""
    server_side, clients = COHORTS[cohort]
    sides = vectors.sides(vector)
    server = sides[server_side][0]
    parties = {
        m["client_id"]: sides[clients.get(m["client_id"], "package")][1](m)
        for m in vector["members"]
    }
    inputs = {m["client_id"]: values_of(m["input"]) for m in vector["members"]}
    told = dict.fromkeys(parties)
    while True:
        phase = server.phase
        for name, message in told.items():
            party = parties[name]
            effects = party.start() if message is None else party.receive(SERVER, message)
            if phase == "input":
                effects = party.contribute(inputs[name])
            if drop == (phase, name):
                continue
            for effect in effects:
                if effect[0] in ("send", "chunk"):
                    server.receive(name, effect[2])
        effects = server.advance()
        if effects[-1][0] in ("done", "aborted"):
            return effects[-1]
        told = {effect[1]: effect[2] for effect in effects if effect[0] == "send"}


def check_mixed_cohort(vectors, vector, cohort, drop):
    """Whoever is lost before its input is in is no survivor; the sum is over the survivors."""
    verdict, total, survivors = run_cohort(vectors, vector, cohort, drop)
    assert verdict == "done"
    gone = {drop[1]} if drop and drop[0] in PHASES[:3] else set()
    assert set(survivors) == {m["client_id"] for m in vector["members"]} - gone
    assert total == expected_sum(vector, survivors)


# ------------------------------------------------------------------ one reading of any bytes

HEADS = bytes([*range(0x90, 0xA4), *range(0xC0, 0xE0), 0x00, 0x7F, 0x80, 0xFF])


def honest_messages(vectors, *names):
    """Each message of these runs, with its kind's tag."""
    found = {}
    for name in names:
        for operation in vectors.named(name)["operations"]:
            given = [operation.get("message", "")]
            for message in given + [effect.get("message", "") for effect in operation["expect"]]:
                if message and isinstance(message, str):
                    data = bytes.fromhex(message)
                    found[data] = vectors.reference.unpack(data)[0]
    return sorted(found.items())


@st.composite
def spoiled(draw, honest):
    """An honest message after up to three edits, a header's as likely as any other byte's."""
    message, tag = draw(st.sampled_from(honest))
    data = bytearray(message)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["set", "head", "insert", "delete", "cut", "widen"])):
            case "set" if data:
                data[at] = draw(st.integers(0, 255))
            case "head" if data:
                data[at] = draw(st.sampled_from(HEADS))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=3))
            case "delete":
                del data[at : at + 1]
            case "cut":
                del data[at:]
            case "widen":
                widen(data, at)
    return tag, bytes(data)


def widen(data, at):
    """Writes the next length or integer in a wider form than it needs."""
    for i in range(at, len(data)):
        kind = data[i]
        if kind < 0x80:
            data[i : i + 1] = [0xCC, kind]
        elif 0x90 <= kind < 0xA0:
            data[i : i + 1] = [0xDC, 0, kind & 0x0F]
        elif 0xA0 <= kind < 0xC0:
            data[i : i + 1] = [0xD9, kind & 0x1F]
        elif kind == 0xC4 and i + 1 < len(data):
            data[i : i + 1] = [0xC5, 0]
        else:
            continue
        return


def check_read_alike(vectors, kinds, tag, data):
    """These bytes are one message to both, or refused by both for one reason."""
    limit = 1 << 16
    (kind,) = (k for k in kinds if k.__struct_config__.tag == tag)
    reference = vectors.reference
    (theirs,) = (k for k in vars(reference).values() if getattr(k, "tag", None) == tag)
    ours = verdict(lambda: decode(kind, data, limit=limit), reference)
    theirs = verdict(lambda: reference.decode(data, limit, theirs), reference)
    assert isinstance(ours, str) == isinstance(theirs, str)
    if isinstance(ours, str):
        assert ours == theirs
    else:
        assert data == reference.encode(theirs)


def verdict(act, reference):
    try:
        return act()
    except PeerError as error:
        return error.reason.name
    except reference.Refused as refusal:
        return refusal.reason


# ------------------------------------------------------------------ the files themselves


def check_regeneration(vectors, *others):
    """What the folder's script renders is what the folder has; `others` beside the vectors."""
    rendered = vectors.script("generate").render()
    paths = [*(vectors.path / name for name in others), *vectors.files]
    on_disk = {str(path.relative_to(vectors.path)): path.read_text() for path in paths}
    assert sorted(rendered) == sorted(on_disk)
    for path, text in rendered.items():
        assert text == on_disk[path], f"{path}: run protocols/{vectors.folder}/generate.py"


def valid(schema, value, definitions):
    """The part of JSON Schema that messages.schema.json uses."""
    if "$ref" in schema:
        return valid(definitions[schema["$ref"].rsplit("/", 1)[1]], value, definitions)
    if "oneOf" in schema:
        return sum(valid(option, value, definitions) for option in schema["oneOf"]) == 1
    if "const" in schema:
        return value == schema["const"]
    match schema["type"]:
        case "integer":
            return isinstance(value, int) and (
                schema["minimum"] <= value < schema["exclusiveMaximum"]
            )
        case "string":
            bounds = schema.get("minLength", 0), schema.get("maxLength", 1 << 30)
            return (
                isinstance(value, str)
                and bounds[0] <= len(value) <= bounds[1]
                and re.search(schema["pattern"], value) is not None
            )
        case "array" if isinstance(value, list) and len(value) <= schema["maxItems"]:
            if "prefixItems" in schema:
                fields = schema["prefixItems"]
                return len(value) == len(fields) and all(
                    valid(f, v, definitions) for f, v in zip(fields, value, strict=True)
                )
            return all(valid(schema["items"], v, definitions) for v in value)
    return False


def as_json(value):
    if isinstance(value, bytes):
        return value.hex()
    return [as_json(v) for v in value] if isinstance(value, list) else value


def check_schema(vectors, schema, honest, kinds):
    """The schema holds for every honest message, not with a field more or less."""
    seen = set()
    for message, tag in honest:
        value = as_json(vectors.reference.unpack(message))
        assert valid(schema, value, schema["$defs"]), tag
        assert not valid(schema, [*value, 0], schema["$defs"]), tag
        assert not valid(schema, value[:-1], schema["$defs"]), tag
        seen.add(tag)
    assert seen == {kind.__struct_config__.tag for kind in kinds}
