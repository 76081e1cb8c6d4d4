"""The vectors of protocols/secagg, replayed by the package and by the reference, and both mixed."""

import ast
import json
import re

import pytest
from hypothesis import given, settings

from fedprivacy.errors import Reason
from fedprivacy.secagg import SecAgg
from fedprivacy.secagg.masking import messages
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
from secagg_sides import SIDES, Vectors

VECTORS = Vectors("secagg", SecAgg)
FILES = VECTORS.files
KINDS = (
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
HONEST = honest_messages(VECTORS, "ok_curious", "ok_drop_input", "ok_long_lists")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_vector(path, side):
    replay(VECTORS, VECTORS.read(path), side)


def test_each_lie_is_told_to_someone_who_notices():
    """A negative holds a refusal or ends in blame or without a sum; a positive holds neither."""
    for path in FILES:
        vector = VECTORS.read(path)
        refused = any(isinstance(o["expect"], dict) for o in vector["operations"])
        aborted = vector["outcome"].get("aborted", {"reason": "TOO_FEW"})["reason"] != "TOO_FEW"
        assert (refused or aborted) == path.stem.startswith("bad_"), path.stem


@pytest.mark.parametrize("cohort", COHORTS)
@pytest.mark.parametrize("drop", DROPS, ids=lambda d: "-".join(d) if d else "none")
@pytest.mark.parametrize("base", ["ok_malicious", "ok_curious"])
def test_mixed_cohort(base, drop, cohort):
    check_mixed_cohort(VECTORS, VECTORS.named(base), cohort, drop)


@settings(settings.get_profile("fuzz"))
@given(spoiled(HONEST))
def test_both_read_the_same(case):
    """Any bytes are one message to both, or refused by both for one reason."""
    check_read_alike(VECTORS, KINDS, *case)


def test_regeneration_changes_nothing():
    check_regeneration(VECTORS, "messages.schema.json")


def test_schema_describes_every_honest_message():
    schema = json.loads((VECTORS.path / "messages.schema.json").read_text())
    check_schema(VECTORS, schema, HONEST, KINDS)


def test_reference_shares_no_code():
    imported = set()
    for node in ast.walk(ast.parse((VECTORS.path / "reference.py").read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported == {"Crypto", "collections", "hashlib", "itertools", "re", "typing"}


def test_specification_registers_the_same_codes():
    text = (VECTORS.path / "SPEC.md").read_text()
    rows = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", text, re.MULTILINE)
    specified = {name: int(code) for code, name in rows}
    assert specified == VECTORS.reference.REASONS
    assert specified == {name: Reason[name].value for name in specified}
