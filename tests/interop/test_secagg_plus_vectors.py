"""The vectors of protocols/secagg-plus, replayed by the package, by the reference, and mixed."""

import ast
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.errors import Reason
from fedprivacy.secagg import Adversary, SecAgg, SecAggPlus
from fedprivacy.secagg.graph import ring_neighbours
from fedprivacy.secagg.masking import messages
from fedprivacy.secagg.parameters import graph_fault, graph_of_degree
from fedprivacy.secagg.uploads import MaskedChunk
from secagg_replay import (
    COHORTS,
    DROPS,
    check_mixed_cohort,
    check_read_alike,
    check_regeneration,
    check_schema,
    honest_messages,
    replay,
    spoiled,
)
from secagg_sides import SIDES, Vectors, only

VECTORS = Vectors("secagg-plus", SecAggPlus, ("ring", "longest"))
FILES = VECTORS.files
reference = VECTORS.reference
KINDS = (
    messages.KeyAdvertisement,
    messages.Neighbourhood,
    messages.SealedShares,
    messages.ShareDelivery,
    MaskedChunk,
    messages.MaskedInput,
    messages.AcknowledgedInput,
    messages.SurvivorSet,
    messages.AcknowledgedSurvivors,
    messages.InclusionSignatures,
    messages.UnmaskRequest,
    messages.UnmaskShares,
)
HONEST = honest_messages(VECTORS, "ok_curious", "ok_semi_malicious")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_vector(path, side):
    replay(VECTORS, VECTORS.read(path), side)


def test_each_lie_is_told_to_someone_who_notices():
    """A negative holds a refusal, or ends without a sum for a liar's sake; a positive does not."""
    for path in FILES:
        vector = VECTORS.read(path)
        refused = any(isinstance(o["expect"], dict) for o in vector["operations"])
        ended = "aborted" in vector["outcome"] and not path.stem.startswith("ok_too_few")
        assert (refused or ended) == path.stem.startswith("bad_"), path.stem


def reasons_in(vectors):
    """Every reason that a party gives in these vectors, by who gives it."""
    given = {"server": set(), "client": set()}
    for path in vectors.files:
        for operation in vectors.read(path)["operations"]:
            side = "server" if operation["party"] == "@server" else "client"
            if isinstance(operation["expect"], dict):
                given[side].add(operation["expect"]["reason"])
                continue
            for effect in operation["expect"]:
                if "aborted" in effect:
                    given[side].add(effect["aborted"]["reason"])
    return given


def test_every_reason_that_the_ring_adds_or_changes_has_a_vector():
    given = reasons_in(VECTORS)
    assert given["client"] >= {
        *("GRAPH", "ROSTER_SIZE", "OWN_ENTRY", "KEY_SIGNATURE", "UNKNOWN_DEALER", "NON_CANONICAL"),
        *("SURVIVOR_UNKNOWN", "NOT_SURVIVOR", "SURVIVORS_FEW", "CONSISTENCY_QUORUM", "ANSWERED"),
        *("MALFORMED", "OVERSIZED"),
    }
    assert given["server"] >= {
        *("GRAPH", "TOO_FEW", "SHARE_UNOPENED", "UNKNOWN_DEALER", "CONSISTENCY_SIGNATURE"),
        *("UNEXPECTED", "SHARE_MISSING", "MALFORMED"),
    }


def test_every_registered_reason_has_a_vector_here_or_in_secagg():
    given = reasons_in(VECTORS)
    others = reasons_in(Vectors("secagg", SecAgg))
    both = given["client"] | given["server"] | others["client"] | others["server"]
    assert both == set(reference.REASONS)


def test_a_lost_client_with_no_survivor_around_it_is_not_needed():
    """The vector shows what its note says."""
    vector = VECTORS.named("ok_not_needed")
    ring, size = vector["ring"], len(vector["ring"])
    survivors = {int(name[1:]) for name in vector["outcome"]["survivors"]}
    place = ring.index(0)
    around = {ring[p] for p in ring_neighbours(place, size, vector["plan"]["degree"])}
    assert not survivors & {0, *around}
    heard = [o["phase"] for o in vector["operations"] if o["party"] == "c000"]
    assert heard == ["new", "keys"]  # it dealt, and was lost


# ------------------------------------------------------------------ mixed cohorts


@pytest.mark.parametrize("cohort", COHORTS)
@pytest.mark.parametrize("drop", DROPS, ids=lambda d: "-".join(d) if d else "none")
@pytest.mark.parametrize("base", ["ok_semi_malicious", "ok_curious"])
def test_mixed_cohort(base, drop, cohort):
    check_mixed_cohort(VECTORS, VECTORS.named(base), cohort, drop)


# ------------------------------------------------------------------ bounds


def test_bounds_are_those_of_the_reference():
    """In whole numbers: what the package computes from logarithms."""
    table = only(
        json.loads((VECTORS.path / "bounds.json").read_text()),
        *("schema", "version", "source", "rows"),
    )
    for row in table["rows"]:
        assert bounds_of(row) == (row["least_threshold"], row["least_sum"], row["holds"]), row
    assert {row["holds"] for row in table["rows"]} == {True, False}


def bounds_of(row):
    """By the reference; a plan whose cohort is the ring itself."""
    size, c, k, t = (row[key] for key in ("size", "corrupt", "degree", "threshold"))
    least = reference.least_threshold(size, c, k, row["adversary"])
    honest = reference.least_sum(size, c, k, t)
    if row["adversary"] == Adversary.HONEST_BUT_CURIOUS.value:
        honest = size - c - row["lost"]
    plan = ring_plan(size, c, row["lost"], row["adversary"], k, t)
    return least, honest, reference.graph_holds(plan, size, 0)


def ring_plan(size, corrupt, lost, adversary, degree, threshold, min_clients=0):
    values = {
        "adversary": adversary,
        "cohort_size": size,
        "corrupt": corrupt,
        "dropped": lost,
        "degree": degree,
        "threshold": threshold,
        "min_clients": min_clients,
    }
    return reference.Plan(**{field: values.get(field) for field in reference.Plan._fields})


@st.composite
def rings(draw):
    """Any ring that a plan may lead to, the degree and the threshold more often near the bounds."""
    size = draw(st.integers(3, 400))
    corrupt = draw(st.integers(0, size - 2))
    lost = draw(st.integers(0, size - 2 - corrupt))
    adversary = draw(st.sampled_from([Adversary.HONEST_BUT_CURIOUS, Adversary.SEMI_MALICIOUS]))
    degree = 2 * draw(st.integers(1, size // 2 + 1))
    least = graph_of_degree(size, corrupt, lost, adversary, degree).threshold
    return size, corrupt, lost, adversary, degree, max(least + draw(st.integers(-2, 6)), 1)


@given(rings(), st.integers(0, 30))
def test_both_find_the_same_graphs_safe(ring, honest):
    size, corrupt, lost, adversary, degree, threshold = ring
    curious = adversary is Adversary.HONEST_BUT_CURIOUS
    fault = graph_fault(*ring, least_honest=0 if curious else honest)
    plan = ring_plan(size, corrupt, lost, adversary.value, degree, threshold, honest)
    assert reference.graph_holds(plan, size, 0) == (fault is None), fault


@given(st.integers(2, 60), st.integers(1, 40), st.data())
def test_both_find_the_same_neighbours(size, half, data):
    place = data.draw(st.integers(0, size - 1))
    ours = ring_neighbours(place, size, 2 * half)
    assert set(ours) == reference.ring_neighbours(place, size, 2 * half)
    assert len(ours) == min(2 * half, size - 1)


# ------------------------------------------------------------------ one reading of any bytes


@settings(settings.get_profile("fuzz"))
@given(spoiled(HONEST))
def test_both_read_the_same(case):
    """Any bytes are one message to both, or refused by both for one reason."""
    check_read_alike(VECTORS, KINDS, *case)


# ------------------------------------------------------------------ the files themselves


def test_regeneration_changes_nothing():
    check_regeneration(VECTORS, "messages.schema.json", "bounds.json")


def test_schema_describes_every_honest_message():
    schema = json.loads((VECTORS.path / "messages.schema.json").read_text())
    check_schema(VECTORS, schema, HONEST, KINDS)


def test_reference_shares_no_code():
    """Nothing but SecAgg's reference, which a test of its own keeps apart from the package."""
    source = (VECTORS.path / "reference.py").read_text()
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported == {"collections", "fractions", "importlib", "math", "pathlib"}
    assert "fedprivacy." not in source


def test_specification_registers_the_same_codes():
    text = (VECTORS.path / "SPEC.md").read_text()
    rows = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", text, re.MULTILINE)
    specified = {name: int(code) for code, name in rows}
    changed = {name: reference.REASONS[name] for name in specified}
    assert specified == changed
    assert specified == {name: Reason[name].value for name in specified}
    assert "GRAPH" in specified
