"""The vectors of protocols/round, replayed by the package and by the reference, and both mixed."""

import ast
import json
import math
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.crypto import Directory
from fedprivacy.dp.sampling import discrete_gaussian, skellam
from fedprivacy.errors import Reason
from fedprivacy.rounds import (
    ClientPolicy,
    Envelope,
    Invitation,
    Plan,
    Refusal,
    RoundPlan,
    Settled,
)
from fedprivacy.rounds.policy import Requirements
from fedprivacy.secagg import PROTOCOLS, SERVER
from fedprivacy.secagg.plain import PlainInput
from fedprivacy.wire import decode, encode
from round_lies import (
    AUTHORITY,
    BEFORE,
    CHANGES,
    CURIOUS_POLICY,
    ENTRY,
    HONEST_INVITATION,
    LIES,
    NOISE,
    RULES,
    WANTED,
    few_of,
    told_invitation,
    told_plan,
)
from round_sides import (
    FILES,
    FOLDER,
    SIDES,
    Parties,
    by_path,
    effects_json,
    expected_effects,
    in_digits,
    message_of,
    read_vector,
    reference,
    vector_of,
    verdict,
)

# ------------------------------------------------------------------ replay


def replay(vector, folder, side_of):
    """Every operation gives what the vector expects, to the byte, and ends in its outcome."""
    parties = Parties(vector, folder, side_of)
    refused = ended = None
    for operation in vector["operations"]:
        effects, refusal = parties.perform(operation)
        got = effects_json(effects)
        assert got == expected_effects(operation["expect"]), operation["operation"]
        assert refusal == operation.get("refused"), operation["operation"]
        if "after" in operation:
            party = parties.party(operation["attempt"], SERVER)
            assert party.after() == operation["after"]
        if refusal and not refused:
            refused = {"refused": {"party": operation["party"], **refusal}}
        for effect in got:
            if "aborted" in effect or effect.get("done"):
                ended = effect.get("done") or effect
    parties.close()
    ok = vector["name"].startswith("ok_")
    assert in_digits(vector["outcome"]) == (ended or {"accepted": True} if ok else refused or ended)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_vector(path, side, tmp_path):
    replay(read_vector(path), tmp_path, lambda _: side)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_derived_values(path, side):
    for attempt in read_vector(path)["attempts"]:
        assert SIDES[side][3](attempt) == attempt["derived"]


def refusals_in(vector):
    """Whatever is refused in it, by a party or as a round's end."""
    for operation in vector["operations"]:
        if "refused" in operation:
            yield operation["refused"]["reason"]
        for effect in operation["expect"]:
            if "aborted" in effect:
                yield effect["aborted"]["reason"]


HONEST_ENDS = {"TOO_FEW"} | {name for name in reference.REASONS if name.startswith("POLICY_")}


def test_each_lie_is_told_to_someone_who_notices():
    """A negative holds a refusal, or blame; a positive none but a client's own rules."""
    for path in FILES:
        found = set(refusals_in(read_vector(path)))
        if path.stem.startswith("bad_"):
            assert found - {"TOO_FEW"}, path.stem
        else:
            assert found <= HONEST_ENDS, path.stem


def test_every_reason_of_the_round_has_a_vector():
    shown = {reason for path in FILES for reason in refusals_in(read_vector(path))}
    assert set(reference.ROUND_REASONS) <= shown


# ------------------------------------------------------------------ mixed parties


def is_complete(path):
    """Whether it ends in a sum and has every party's part, so that others can play them."""
    vector = read_vector(path)
    return path.stem.startswith("ok_") and "sum" in vector["outcome"] and vector["clients"]


COMPLETE = [path for path in FILES if is_complete(path)]
MIXED = {
    "reference-server": lambda name: "reference" if name == SERVER else "package",
    "package-server": lambda name: "package" if name == SERVER else "reference",
    "half": lambda name: "reference" if name in {SERVER, "c001"} else "package",
}


@pytest.mark.parametrize("mix", MIXED)
@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.stem)
def test_mixed_parties(path, mix, tmp_path):
    """Live: each party hears what the others say now, and the sums come out as in the vector."""
    vector = read_vector(path)
    parties = Parties(vector, tmp_path, MIXED[mix])
    ended = None
    for operation in vector["operations"]:
        effects, _ = parties.perform(operation | heard_now(parties, operation))
        remember(parties, operation, effects)
        for effect in effects_json(effects):
            if "aborted" in effect or effect.get("done"):
                ended = effect.get("done") or effect
    parties.close()
    assert ended == in_digits(vector["outcome"])


def remember(parties, operation, effects):
    """What is on its way, by (attempt, sender, recipient)."""
    queues = parties.__dict__.setdefault("queues", {})
    for effect in effects:
        if effect[0] in {"send", "chunk"}:
            key = (operation["attempt"], operation["party"], effect[1])
            queues.setdefault(key, []).append(effect[2])


def heard_now(parties, operation):
    """The next message on this way, in place of the recorded one; recorded losses stay lost."""
    if operation["operation"] != "receive":
        return {}
    queue = parties.queues[operation["attempt"], operation["sender"], operation["party"]]
    recorded = message_of(operation["message"])
    while queue:
        message = queue.pop(0)
        if message[:12] == recorded[:12] and len(message) == len(recorded):
            return {"message": message.hex()}
    raise AssertionError("nothing was said")


# ------------------------------------------------------------------ one reading of any bytes

ALL = (Invitation, Envelope, Settled, Refusal, Directory)
KINDS = {kind.__struct_config__.tag: kind for kind in ALL}
REFERENCE_KINDS = {
    kind.tag: kind
    for kind in (
        reference.Invitation,
        reference.Envelope,
        reference.Settled,
        reference.Refusal,
        reference.Directory,
    )
}
HEADS = bytes([*range(0x80, 0xA8), *range(0xC0, 0xE0), 0x00, 0x7F, 0xFF])


def honest_messages():
    """Each message of the small honest runs, with its kind's tag; directories among them."""
    found = {}
    for name in (
        *("ok_masked_signed", "ok_patient_unit", "ok_refused_then_retried"),
        "ok_settled",
    ):
        vector = vector_of(name)
        for operation in vector["operations"]:
            for effect in operation["expect"]:
                if "message" in effect:
                    message = message_of(effect["message"])
                    found[message] = reference.unpack(message)[0]
        for attempt in vector["attempts"]:
            if attempt["directory"]:
                found[bytes.fromhex(attempt["directory"])] = "directory"
    return sorted(found.items())


HONEST = honest_messages()
INVITATIONS = [(message, tag) for message, tag in HONEST if tag == "invitation"]


@st.composite
def spoiled(draw):
    """An honest message after up to three edits, a header's as likely as any other byte's."""
    pool = st.sampled_from(INVITATIONS) | st.sampled_from(HONEST)
    message, tag = draw(pool)
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
        elif kind < 0x90:
            data[i : i + 1] = [0xDE, 0, kind & 0x0F]
        elif kind < 0xA0:
            data[i : i + 1] = [0xDC, 0, kind & 0x0F]
        elif kind < 0xC0:
            data[i : i + 1] = [0xD9, kind & 0x1F]
        elif kind == 0xC4 and i + 1 < len(data):
            data[i : i + 1] = [0xC5, 0]
        else:
            continue
        return


@settings(settings.get_profile("fuzz"))
@given(spoiled())
def test_both_read_the_same(case):
    """Any bytes are one message to both, or refused by both for one reason."""
    tag, data = case
    limit = 1 << 16
    ours = verdict(lambda: decode(KINDS[tag], data, limit=limit))
    theirs = verdict(lambda: reference.decode(data, limit, REFERENCE_KINDS[tag]))
    assert isinstance(ours, str) == isinstance(theirs, str), (ours, theirs)
    if isinstance(ours, str):
        assert ours == theirs
    else:
        assert data == reference.encode(theirs)


# ------------------------------------------------------------------ one verdict on any plan


@settings(settings.get_profile("fuzz"))
@given(
    few_of(CHANGES),
    few_of({section: few_of(fields) for section, fields in RULES.items()} | {"noise": NOISE}),
    st.booleans(),
    few_of({section: few_of(fields) for section, fields in WANTED.items()}),
)
def test_both_judge_plans_alike(changes, rules, follows, wanted):
    """The first thing that is wrong with a plan is the same to both; so is what a policy refuses.

    Of the codes that go over the wire, and by the whole list of checks in its order.
    """
    plan = told_plan(changes, rules, follows)
    theirs = reference.RoundPlan.read(reference.unpack(encode(plan)))
    wanted = wanted | {"aggregation": CURIOUS_POLICY | wanted.get("aggregation", {})}
    policy = ClientPolicy(require=msgspec.convert(wanted, Requirements))
    floors = msgspec.to_builtins(policy.require)
    assert verdict(plan.check) == verdict(lambda: reference.check_round_plan(theirs))
    ours = verdict(
        lambda: policy.check(plan.plan, threshold=plan.threshold, cohort=plan.cohort_size)
    )
    assert ours == verdict(lambda: reference.check_policy(floors, theirs))
    assert plan.round_id == reference.round_id(theirs)


# ------------------------------------------------------------------ one verdict on any invitation


@settings(settings.get_profile("fuzz"))
@given(few_of(LIES, most=3))
def test_both_clients_answer_an_invitation_alike(told):
    """Whatever is wrong with it, in whatever combination: the same answer, the same marks."""
    lies = HONEST_INVITATION | told
    attempt = vector_of("ok_masked_signed")["attempts"][0]
    message = told_invitation(attempt, lies)
    wanted = {"aggregation": CURIOUS_POLICY | lies["wanted"]}
    policy = msgspec.to_builtins(msgspec.convert(wanted, Requirements))
    authority = AUTHORITY.public.hex() if lies["pinned"] else None
    entry = ENTRY | {"policy": policy, "authority": authority}
    run_id = bytes.fromhex(attempt["round_plan"]["run_id"])
    answers = []
    for make_store, make_client, _, _ in SIDES.values():
        store = make_store(entry, None)
        if BEFORE[lies["before"]]:
            call, what = BEFORE[lies["before"]]
            store.call(call, what | {"run_id": run_id})
        client = make_client(entry, store, attempt["members"]["c000"])
        answers.append(client.receive(lies["sender"], message))
        store.close()
    (ours, our_refusal), (theirs, their_refusal) = answers
    assert our_refusal == their_refusal
    assert effects_json(ours) == effects_json(theirs)


# ------------------------------------------------------------------ decoded sums


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.stem)
def test_decoded_sums_are_those_of_the_updates(path):
    """Each rounded vector is off by less than one, so the sum by less than their number.

    Turned back, all that rounding did to the coordinates may be in one of them.
    """
    vector = read_vector(path)
    attempt, outcome = vector["attempts"][-1], vector["outcome"]
    plan = reference.RoundPlan.of_json(attempt["round_plan"])
    pipeline = reference.Pipeline(plan)
    updates = [attempt["members"][name]["update"] for name in outcome["survivors"]]
    rows, weights = [], []
    for update in updates:
        units = update["values"] if pipeline.per_unit else [update["values"]]
        weights.append(len(units) if pipeline.per_unit else update["weight"])
        factor = 1 if pipeline.per_unit else update["weight"]
        rows += [[factor * x for x in pipeline.clipped(unit)] for unit in units]
    shares = [attempt["members"][name]["noise"]["drawn"] for name in outcome["survivors"]]
    noise = [drawn for drawn in [*shares, attempt["noise"]["drawn"]] if drawn]
    assert len(noise) == {"none": 0, "server": 1}.get(pipeline.trust, len(shares))
    moved = len(rows) * (math.sqrt(pipeline.coordinates) if pipeline.rotates else 1)
    # What the server decodes is linear in the noise.
    pipeline.trust, pipeline.bound = "none", math.inf
    rows += [pipeline.decode(drawn, 1, [])["values"] for drawn in noise]
    exact = [math.fsum(column) for column in zip(*rows, strict=True)]
    decoded = outcome["sum"]
    for got, wanted in zip(decoded["values"], exact, strict=True):
        assert abs(got - wanted) < moved / pipeline.scale * (1 + 1e-12)
    counted = pipeline.public_weight or len(updates)
    assert decoded["weight"] == (sum(weights) if pipeline.summed else counted)


def test_some_vector_rounds_again_and_some_noise_is_beyond_a_table():
    attempt = vector_of("ok_noise_patient_unit")["attempts"][0]
    drawn = {name: len(member["encoding"]) for name, member in attempt["members"].items()}
    held = {name: len(m["update"]["values"]) for name, m in attempt["members"].items()}
    assert any(drawn[name] > held[name] for name in drawn)
    for name in ("ok_noise_wide", "ok_noise_many_terms"):
        plan = reference.RoundPlan.of_json(vector_of(name)["attempts"][0]["round_plan"])
        assert reference.Pipeline(plan).noise.variance > reference.Share.TABLE


@settings(settings.get_profile("fuzz"))
@given(
    st.floats(-20.0, 60.0).map(lambda power: 2.0**power),
    st.sampled_from(["skellam", "discrete-gaussian"]),
)
def test_both_end_a_table_at_the_same_place(variance, mechanism):
    """As another implementation must: the modulus is derived from it."""
    variance = min(variance, 2.0**22 if mechanism == "skellam" else variance)
    make = {"skellam": skellam, "discrete-gaussian": discrete_gaussian}[mechanism]
    share = reference.Share.__new__(reference.Share)
    share.variance = variance
    ends = {"skellam": share.most_skellam, "discrete-gaussian": share.most_gaussian}
    assert make(variance).most == ends[mechanism]()


# ------------------------------------------------------------------ tables


def test_reference_has_the_same_fields():
    """A field that is added to one of the two, and not to the other, is named here."""

    def fields(kind):
        return [f.encode_name for f in msgspec.structs.fields(kind)]

    assert fields(RoundPlan) == list(reference.RoundPlan._fields)
    assert fields(Plan) == list(reference.Plan._fields)
    for field in msgspec.structs.fields(Plan):
        if hasattr(field.type, "__struct_fields__"):
            section = getattr(reference, field.name.capitalize())
            assert fields(field.type) == list(section._fields)
    assert {name: {p.value for p in of.adversaries} for name, of in PROTOCOLS.items()} == {
        name: set(of) for name, of in reference.PROTOCOLS.items()
    }


def test_reference_does_not_guess_the_rules_of_a_ring():
    rules = {"aggregation": {"protocol": "secagg+", "adversary": "semi-malicious"}}
    theirs = reference.RoundPlan.read(reference.unpack(encode(told_plan({}, rules, follows=False))))
    with pytest.raises(reference.NotHere):
        reference.check_round_plan(theirs)


SPEC = (FOLDER / "SPEC.md").read_text()


def test_specification_has_the_same_fields():
    """The tables of fields in SPEC.md, in their order."""
    for title, kind in (
        ("`Plan`", reference.Plan),
        ("`[dataset]`", reference.Dataset),
        ("`[aggregation]`", reference.Aggregation),
        ("`[update]`", reference.Update),
        ("`[noise]`", reference.Noise),
        ("`[sampling]`", reference.Sampling),
        ("`[adaptive]`", reference.Adaptive),
        ("`RoundPlan`", reference.RoundPlan),
    ):
        _, _, after = SPEC.partition(f"| {title} |")
        table = after.partition("\n\n")[0]
        assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(kind._fields), title


def test_specification_registers_the_same_codes():
    rows = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", SPEC, re.MULTILINE)
    specified = {name: int(code) for code, name in rows}
    assert specified == reference.ROUND_REASONS
    assert specified == {name: Reason[name].value for name in specified}


def test_specification_orders_the_policy_as_the_reference():
    _, _, after = SPEC.partition("| policy key |")
    table = after.partition("\n\n")[0]
    rows = re.findall(r"^\| `([\w.]+)` \|.*\| `([A-Z_]+)` \|$", table, re.MULTILINE)
    assert rows == [(wanted, reason) for reason, wanted, _, _ in reference.FLOORS]


# ------------------------------------------------------------------ the files themselves


def test_regeneration_changes_nothing():
    rendered = by_path("generate").render()
    on_disk = {
        str(path.relative_to(FOLDER)): path.read_text()
        for path in [FOLDER / "messages.schema.json", *FILES]
    }
    assert sorted(rendered) == sorted(on_disk)
    for path, text in rendered.items():
        assert text == on_disk[path], f"{path}: run protocols/round/generate.py"


BOUNDS = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
    "minLength": lambda value, bound: len(value) >= bound,
    "maxLength": lambda value, bound: len(value) <= bound,
    "maxItems": lambda value, bound: len(value) <= bound,
    "pattern": lambda value, bound: re.search(bound, value) is not None,
}
TYPES = {"integer": int, "number": float, "string": str, "array": list, "object": dict}


def valid(schema, value, definitions):
    """The part of JSON Schema that messages.schema.json uses."""
    if "$ref" in schema:
        return valid(definitions[schema["$ref"].rsplit("/", 1)[1]], value, definitions)
    if "oneOf" in schema:
        return sum(valid(option, value, definitions) for option in schema["oneOf"]) == 1
    if "const" in schema:
        return value == schema["const"]
    if "enum" in schema:
        return value in schema["enum"]
    if not isinstance(value, TYPES[schema["type"]]):
        return False
    if not all(holds(value, schema[key]) for key, holds in BOUNDS.items() if key in schema):
        return False
    if schema["type"] == "object":
        parts = schema["properties"]
        return list(value) == list(parts) == schema["required"] and all(
            valid(parts[key], item, definitions) for key, item in value.items()
        )
    if schema["type"] == "array":
        parts = schema.get("prefixItems", [schema["items"]] * len(value))
        return len(parts) == len(value) and all(
            valid(part, item, definitions) for part, item in zip(parts, value, strict=True)
        )
    return True


def as_json(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, reference.Pairs):
        return {key: as_json(item) for key, item in value}
    return [as_json(v) for v in value] if isinstance(value, list) else value


def test_schema_describes_every_honest_message():
    schema = json.loads((FOLDER / "messages.schema.json").read_text())
    kinds = set()
    messages = [*HONEST, (encode(PlainInput(bytes(16))), "plain-input")]
    for message, tag in messages:
        value = as_json(reference.unpack(message))
        assert valid(schema, value, schema["$defs"]), tag
        assert not valid(schema, [*value, 0], schema["$defs"]), tag
        assert not valid(schema, value[:-1], schema["$defs"]), tag
        kinds.add(tag)
    assert kinds == {*KINDS, "plain-input"}


def test_reference_shares_no_code():
    imported = set()
    for node in ast.walk(ast.parse((FOLDER / "reference.py").read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported == {"collections", "importlib", "math", "pathlib", "struct", "typing"}
