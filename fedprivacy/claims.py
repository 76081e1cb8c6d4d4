"""What is claimed, in one registry: `proofs/claims.toml`, which ships with the package.

A protocol or a mechanism names its row; a row names the code that it speaks of and the evidence for
it. What is not in a row is not claimed.
"""

from __future__ import annotations

import enum
import tomllib
from functools import cache
from typing import Literal

import msgspec

from fedprivacy.errors import ConfigurationError
from fedprivacy.shipped import shipped_path

__all__ = ["Claim", "Evidence", "Grade", "claim_of", "claims"]


class Grade(enum.Enum):
    """How strong a piece of evidence is; never one word for all of them."""

    EXHAUSTIVE = "exhaustive"
    """Every case of a finite domain was run."""
    PAPER_AND_PROBE = "paper+probe"
    """Proved on paper; the code is probed for the proof's hypotheses."""
    PAPER = "paper"
    """Proved on paper."""
    STATISTICAL = "statistical"
    """Sampled, at a stated false-alarm rate: it can refute, not prove."""
    NONE = "none"
    """Nothing is claimed, so nothing is shown."""


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of the registry's parts."""


class Evidence(_Row, frozen=True, kw_only=True):
    """Where a claim is shown: a file in the project and the name of a test or a section in it."""

    grade: Grade
    file: str
    symbol: str


class Claim(_Row, frozen=True, kw_only=True):
    """One claim."""

    id: str
    statement: str
    applies_to: tuple[str, ...]
    """Dotted names of the code that the statement speaks of."""
    adversary: str
    assumptions: tuple[str, ...] = ()
    """Ids that `proofs/SOUNDNESS.md` explains."""
    rests_on: tuple[str, ...] = ()
    """Other rows without which the statement would not hold, or would be worth nothing."""
    evidence: tuple[Evidence, ...] = ()
    not_claimed: tuple[str, ...] = ()


class _Registry(_Row, frozen=True, kw_only=True):
    schema: Literal["fedprivacy/claims/1"]
    claim: tuple[Claim, ...] = ()


@cache
def claims() -> dict[str, Claim]:
    """Every claim by its id; raises `ConfigurationError` for a damaged registry."""
    text = shipped_path("proofs/claims.toml").read_text(encoding="utf-8")
    try:
        registry = msgspec.convert(tomllib.loads(text), _Registry)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"claims.toml: {error}") from None
    rows = {row.id: row for row in registry.claim}
    if len(rows) != len(registry.claim):
        raise ConfigurationError("claims.toml: two rows share an id")
    return rows


def claim_of(claim_id: str) -> Claim:
    """The row with this id; raises `ConfigurationError` if there is none."""
    row = claims().get(claim_id)
    if row is None:
        raise ConfigurationError(f"claims.toml has no row {claim_id}: add one, or claim nothing")
    return row
