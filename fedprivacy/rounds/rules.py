"""The sections of a plan: what can be agreed on, and what each key means."""

from __future__ import annotations

import enum
from typing import Annotated, Literal

from msgspec import Meta

from fedprivacy.crypto import Suite
from fedprivacy.dp.events import Adjacency
from fedprivacy.rounds.config import Section
from fedprivacy.secagg import Adversary
from fedprivacy.secagg.cohort import ClientId
from fedprivacy.secagg.oneshot import MAX_COMMITTEE
from fedprivacy.vector import Weights

__all__ = [
    "AUTO",
    "CLIENT_UNIT",
    "AdaptiveRules",
    "Adjacency",
    "AggregationRules",
    "CommitteeRules",
    "DatasetRules",
    "Mechanism",
    "NoiseRules",
    "Rotation",
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


class Trust(enum.Enum):
    """Who adds noise, and so who is trusted to; in the order of what it protects from."""

    NONE = "none"
    """Nobody: the sum is exact."""
    SERVER = "server"
    """The server, to the sum: it is trusted to, and what it releases is protected."""
    DISTRIBUTED = "distributed"
    """Each client, a share: together, those that are assured to be honest and in the sum."""
    CLIENT = "client"
    """Each client, all of it: whatever becomes of the others."""


class Mechanism(enum.Enum):
    """What the noise of one coordinate is: an integer, drawn exactly."""

    SKELLAM = "skellam"
    """Shares add up exactly."""
    DISCRETE_GAUSSIAN = "discrete-gaussian"


class Rotation(enum.Enum):
    """How a clipped vector is turned before it is rounded, the same for all in a round."""

    NONE = "none"
    HADAMARD = "hadamard"
    """Signs that follow from the round's id, and a Walsh-Hadamard matrix: every coordinate is then
    small, and the same bits have finer steps."""


class DatasetRules(Section, frozen=True, kw_only=True):
    """Whose data, and whom the protection speaks of."""

    id: _Name
    unit: _Name
    """`client`, or what one person is called: `patient`, `user`."""
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE
    max_records_per_unit: _Count = 1


class CommitteeRules(Section, frozen=True, kw_only=True):
    """Who opens the sums of a protocol with a committee; all zero for the others."""

    size: Annotated[int, Meta(ge=0, le=MAX_COMMITTEE)] = 0
    """k; zero takes as many as are named."""
    threshold: Annotated[int, Meta(ge=0, le=MAX_COMMITTEE)] = 0
    """t: how many of them it takes to open a sum; zero takes the least that is safe."""
    corrupt: Annotated[int, Meta(ge=0, le=MAX_COMMITTEE)] = 0
    """c: how many of them may collude with the server."""
    members: Annotated[tuple[ClientId, ...], Meta(max_length=MAX_COMMITTEE)] = ()
    """Enrolled identities, organisations say. Empty: the server draws k of a round's clients."""

    @classmethod
    def drawn(cls, corrupt: int, most: int) -> CommitteeRules:
        """A sample of the clients that withstands so many corrupt and loses one more than these."""
        return cls(size=min(3 * corrupt + 4, most, MAX_COMMITTEE), corrupt=corrupt)

    @property
    def count(self) -> int:
        """k; zero without a committee."""
        return len(self.members) or self.size

    @property
    def opens_with(self) -> int:
        """t, or the least that is safe: fewer learn nothing, and two sets are never both opened.

        t > c, and 2 t > k + c: each honest member answers for one set.
        """
        least = max((self.count + self.corrupt) // 2 + 1, self.corrupt + 1)
        return self.threshold or (least if self.count else 0)


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
    committee: CommitteeRules = CommitteeRules()


class UpdateRules(Section, frozen=True, kw_only=True):
    """How a client's update becomes integers."""

    clip: Annotated[float, Meta(gt=0.0)]
    """L2 norm of one unit's vector."""
    value_bits: Annotated[int, Meta(ge=2, le=32)]
    """Bits of one coordinate of one unit's clipped vector."""
    rotation: Rotation = Rotation.NONE
    weights: Weights = Weights.SUMMED
    """`uniform` under noise: a weight in the sum would be released as it is."""
    public_weight: Annotated[int, Meta(ge=0, lt=1 << 53)] = 0
    """What a mean divides by, a public number, where weights are uniform; zero: the clients."""
    max_units_per_client: _Count = 1
    """Units at one client; with the client as unit, the largest weight it may give itself."""
    max_clients_per_unit: _Count = 1


class AdaptiveRules(Section, frozen=True, kw_only=True):
    """A clip that follows a quantile of the norms, learnt from a noisy count in each sum."""

    quantile: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    """The share of units that is to be left unclipped; zero: the clip is fixed."""
    rate: Annotated[float, Meta(ge=1e-6, le=10.0)] = 0.2
    initial: Annotated[float, Meta(ge=0.0)] = 0.0
    """The clip of a run's first round; zero: `update.clip`, above which it never is."""
    count_deviation: Annotated[float, Meta(ge=0.0)] = 0.0
    """Of the noise in the count, in units: a twentieth of them is usual."""


class NoiseRules(Section, frozen=True, kw_only=True):
    """Where noise enters, and what it is to achieve."""

    trust: Trust = Trust.NONE
    mechanism: Mechanism = Mechanism.SKELLAM
    noise_multiplier: Annotated[float, Meta(ge=0.0)] = 0.0
    """Standard deviation of the noise that counts / L2 sensitivity of the sum to one unit."""
    epsilon: Annotated[float, Meta(ge=0.0)] = 0.0
    """What all rounds together may cost at `delta`."""
    delta: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    rounds: Annotated[int, Meta(ge=0, lt=1 << 31)] = 0
    """Rounds of a run, at most."""


class SamplingRules(Section, frozen=True, kw_only=True):
    """How a round's cohort is drawn."""

    scheme: Literal["all", "poisson"] = "all"
    """`poisson`: each client by a coin of its own, which the server throws and tells nobody."""
    rate: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    """With which a client is drawn."""
