"""The sections of a plan: what can be agreed on, and what each key means."""

from __future__ import annotations

import enum
from typing import Annotated, Literal

from msgspec import Meta

from fedprivacy.crypto import Suite
from fedprivacy.rounds.config import Section
from fedprivacy.secagg import Adversary
from fedprivacy.vector import Weights

__all__ = [
    "AUTO",
    "CLIENT_UNIT",
    "Adjacency",
    "AggregationRules",
    "DatasetRules",
    "NoiseRules",
    "SamplingRules",
    "Trust",
    "UpdateRules",
]

AUTO = "auto"
"""The protocol of a plan that leaves the choice open; `settle` makes it before anything runs."""
CLIENT_UNIT = "client"
"""The unit of a plan that protects a client as a whole, whatever it holds."""

_Name = Annotated[str, Meta(min_length=1, max_length=128)]
_Codepoint = Annotated[str, Meta(min_length=1, max_length=64)]
_Count = Annotated[int, Meta(ge=1, lt=1 << 31)]


class Adjacency(enum.Enum):
    """When two data sets are neighbours."""

    ADD_OR_REMOVE_ONE = "add-or-remove-one"
    REPLACE_ONE = "replace-one"


class Trust(enum.Enum):
    """Who adds noise, and so who need not be trusted; in the order of what it protects from."""

    NONE = "none"


class DatasetRules(Section, frozen=True, kw_only=True):
    """Whose data, and whom the protection speaks of."""

    id: _Name
    unit: _Name
    """`client`, or what one person is called: `patient`, `user`."""
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE
    max_records_per_unit: _Count = 1


class AggregationRules(Section, frozen=True, kw_only=True):
    """How the sum is computed, and against whom."""

    protocol: _Codepoint
    suite: _Codepoint = Suite(1).label
    adversary: Adversary
    min_clients: _Count
    """The fewest survivors over whom a sum is released."""
    corrupt: Annotated[int, Meta(ge=0, lt=1 << 31)] = 0
    """c: enrolled identities that may collude with the server, as a number."""
    threshold: Annotated[int, Meta(ge=0, lt=1 << 31)] = 0
    """t; zero takes the least that is safe for the cohort."""
    degree: Annotated[int, Meta(ge=0, lt=1 << 20)] = 0
    """k: neighbours of a client on a sparse graph; zero takes the least that is safe."""
    dropout: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    """The share of a cohort that may be lost; a sparse graph is made for it."""
    attempts: Annotated[int, Meta(ge=1, le=16)] = 2
    """At one round, over one committed cohort."""


class UpdateRules(Section, frozen=True, kw_only=True):
    """How a client's update becomes integers."""

    clip: Annotated[float, Meta(gt=0.0)]
    """L2 norm of one unit's vector."""
    value_bits: Annotated[int, Meta(ge=2, le=32)]
    """Bits of one coordinate of one unit's clipped vector."""
    weights: Weights = Weights.SUMMED
    max_units_per_client: _Count = 1
    """Units at one client; with the client as unit, the largest weight it may give itself."""
    max_clients_per_unit: _Count = 1


class NoiseRules(Section, frozen=True, kw_only=True):
    """Where noise enters."""

    trust: Trust = Trust.NONE


class SamplingRules(Section, frozen=True, kw_only=True):
    """How a round's cohort is drawn."""

    scheme: Literal["all"] = "all"
