"""A client's policy, in `client.toml`: its own file, never the server's; floors under a plan."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fedprivacy.crypto import Suite
from fedprivacy.errors import ConfigurationError, PolicyRefused, Reason
from fedprivacy.ledger import BudgetTerms
from fedprivacy.rounds.config import Section, load_toml, parse_toml
from fedprivacy.rounds.plan import Plan
from fedprivacy.rounds.rules import Adjacency, CommitteeRules, Trust
from fedprivacy.secagg import Adversary
from fedprivacy.secagg.cohort import ClientId

__all__ = ["Clear", "ClientPolicy"]

_Floor = Annotated[int, Meta(ge=0, lt=1 << 31)]
_RAISE = "ask the operator to raise it"


class DatasetFloor(Section, frozen=True, kw_only=True):
    """The data that this client offers; an empty text accepts any."""

    id: str = ""
    unit: str = ""
    adjacency: Adjacency | None = None


class CommitteeFloor(Section, frozen=True, kw_only=True):
    """The least that a plan's committee must offer, where it has one."""

    size: _Floor = 0
    threshold: _Floor = 0
    corrupt: _Floor = 1
    """With none, a server in league with a single member is not withstood."""
    members: tuple[ClientId, ...] = ()
    """With any, the plan must name its members, and each must be one of these."""


class AggregationFloor(Section, frozen=True, kw_only=True):
    """The least that a plan's `[aggregation]` must offer."""

    protocol: tuple[str, ...] = ("secagg",)
    suite: tuple[str, ...] = (Suite(1).label,)
    adversary: Adversary = Adversary.MALICIOUS
    min_clients: Annotated[int, Meta(ge=2, lt=1 << 31)] = 10
    """Members in every set that this client deals to, masks for or answers about."""
    corrupt: _Floor = 1
    """With none, a server in league with a single client is not withstood."""
    threshold: _Floor = 0
    """Of clients: a committee has its own."""
    committee: CommitteeFloor = CommitteeFloor()


class UpdateBounds(Section, frozen=True, kw_only=True):
    """The most that a plan's `[update]` may take, and the least; zero sets no bound."""

    clip: Annotated[float, Meta(ge=0.0)] = 0.0
    value_bits: _Floor = 0
    max_units_per_client: _Floor = 0
    least_units_per_client: _Floor = 0
    """The most units that this client may come to hold: a plan that allows fewer is refused.

    Else whoever lowers the plan's maximum sees from this client's silence that it holds more.
    """


class NoiseFloor(Section, frozen=True, kw_only=True):
    """The least noise that a plan must add."""

    trust: Trust = Trust.NONE
    noise_multiplier: Annotated[float, Meta(ge=0.0)] = 0.0
    epsilon: Annotated[float, Meta(ge=0.0)] = 0.0
    """At most, for all rounds of one run; zero sets no bound, and only a budget bounds all runs."""
    delta: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    """At most; zero sets no bound."""


class Requirements(Section, frozen=True, kw_only=True):
    """Floors under the same keys as the plan's."""

    dataset: DatasetFloor = DatasetFloor()
    aggregation: AggregationFloor = AggregationFloor()
    update: UpdateBounds = UpdateBounds()
    noise: NoiseFloor = NoiseFloor()


class BudgetLimit(Section, frozen=True, kw_only=True):
    """What one data set may ever tell, in all runs, of one of its units."""

    epsilon: Annotated[float, Meta(gt=0.0)]
    delta: Annotated[float, Meta(gt=0.0, lt=1.0)]


class Clear(enum.Enum):
    """What this client's own code may answer in the clear, outside of every sum and budget."""

    EVALUATE = "evaluate"
    """Metrics of a model on this client's data."""
    QUERY = "query"
    """Whatever the code of an app tells."""


class ClientPolicy(Section, frozen=True, kw_only=True):
    """What this client demands of any plan, and where it keeps what is its own."""

    schema: Literal["fedprivacy/policy/1"] = "fedprivacy/policy/1"
    identity: str = ""
    """Path of the identity's key."""
    store: str = ""
    """Path of the store that remembers what this client has answered."""
    data: str = ""
    """This client's own word for its data, a path say: the store refuses it under a second id."""
    ceremony: str = ""
    """Path of the clients' part of a key ceremony, for a protocol whose clients share a key."""
    clear: tuple[Clear, ...] = ()
    """Of a Flower app: kinds of messages that are answered in the clear; by default none."""
    require: Requirements = Requirements()
    budget: dict[str, BudgetLimit] = msgspec.field(default_factory=dict)
    """By data set; with one, this client takes part in nothing that is not charged to one."""

    @classmethod
    def from_toml(cls, path: str | Path) -> ClientPolicy:
        """The policy in a file; raises `ConfigurationError` naming the key that is wrong."""
        policy = load_toml(cls, Path(path), "policy")
        policy.check_itself()
        return policy

    @classmethod
    def parse(cls, text: str) -> ClientPolicy:
        """The policy in a TOML text; raises as `from_toml` does."""
        policy = parse_toml(cls, text, "policy")
        policy.check_itself()
        return policy

    def check_itself(self) -> None:
        """Raise `ConfigurationError` for a policy that bounds less than it seems to."""
        noise = self.require.noise
        if noise.epsilon and not noise.delta:
            raise ConfigurationError(
                f"policy.require.noise.epsilon = {noise.epsilon} without a delta lets the plan "
                "choose one: set policy.require.noise.delta, well below 1 / number of units"
            )
        for dataset, limit in self.budget.items():
            BudgetTerms("", limit.epsilon, limit.delta).check(f'policy.budget."{dataset}"')
        if len(self.budget) > 1 and not self.require.dataset.id:
            raise ConfigurationError(
                f"policy.budget has {len(self.budget)} data sets, of which the plan could choose: "
                "set policy.require.dataset.id to the one that this policy is for"
            )

    @property
    def floor(self) -> int:
        """The least number of members in any set that this client answers about."""
        return self.require.aggregation.min_clients

    def check(self, plan: Plan, *, threshold: int | None = None, cohort: int | None = None) -> None:
        """Raise `PolicyRefused`, with path, value, floor and remedy, unless the plan is accepted.

        `threshold` and `cohort` are those of a round, where there is one.
        """
        # First what decides whether a directory is asked for: without one, no other floor is told.
        self._check_adversary(plan)
        self._check_dataset(plan)
        self._check_aggregation(plan, threshold, cohort)
        self._check_update(plan)
        self._check_noise(plan)

    def _check_noise(self, plan: Plan) -> None:
        wanted, given, path = self.require.noise, plan.noise, "plan.noise"
        more = "ask the operator to add noise"
        if _rank(given.trust) < _rank(wanted.trust):
            trusts = given.trust.value, wanted.trust.value
            raise PolicyRefused(Reason.POLICY_NOISE, f"{path}.trust", *trusts, more)
        if given.noise_multiplier < wanted.noise_multiplier:
            multipliers = given.noise_multiplier, wanted.noise_multiplier
            key = f"{path}.noise_multiplier"
            raise PolicyRefused(Reason.POLICY_NOISE, key, *multipliers, more)
        for key, value, most in (
            ("epsilon", given.epsilon, wanted.epsilon),
            ("delta", given.delta, wanted.delta),
        ):
            # Zero is what a plan without noise says: nothing is bounded.
            if most and not 0 < value <= most:
                raise PolicyRefused(
                    Reason.POLICY_NOISE,
                    f"{path}.{key}",
                    value or "unbounded",
                    most,
                    more,
                    relation="above",
                )

    def _check_adversary(self, plan: Plan) -> None:
        wanted, given = self.require.aggregation, plan.aggregation
        if given.adversary.strength < wanted.adversary.strength:
            raise PolicyRefused(
                Reason.POLICY_ADVERSARY,
                "plan.aggregation.adversary",
                given.adversary.value,
                wanted.adversary.value,
                _RAISE,
            )

    def _check_dataset(self, plan: Plan) -> None:
        wanted, given = self.require.dataset, plan.dataset
        for key, value, floor in (
            ("id", given.id, wanted.id),
            ("unit", given.unit, wanted.unit),
            (
                "adjacency",
                given.adjacency.value,
                wanted.adjacency.value if wanted.adjacency else "",
            ),
        ):
            if floor and value != floor:
                remedy = "this client offers no other; ask the operator to name it so"
                raise _not(Reason.POLICY_DATASET, f"plan.dataset.{key}", value, floor, remedy)

    def _check_aggregation(self, plan: Plan, threshold: int | None, cohort: int | None) -> None:
        wanted, given = self.require.aggregation, plan.aggregation
        path, committee = "plan.aggregation", given.committee
        unmask = None if committee.count else threshold
        if given.protocol not in wanted.protocol:
            allowed = " or ".join(wanted.protocol)
            remedy = "ask the operator to change it"
            raise _not(Reason.POLICY_PROTOCOL, f"{path}.protocol", given.protocol, allowed, remedy)
        if given.suite not in wanted.suite:
            allowed = " or ".join(wanted.suite)
            remedy = "ask the operator to change it"
            raise _not(Reason.POLICY_SUITE, f"{path}.suite", given.suite, allowed, remedy)
        for reason, key, value, floor in (
            (Reason.POLICY_COHORT, "min_clients", given.min_clients, wanted.min_clients),
            (Reason.POLICY_CORRUPT, "corrupt", given.corrupt, wanted.corrupt),
            (Reason.POLICY_THRESHOLD, "threshold", unmask, wanted.threshold),
        ):
            if value is not None and value < floor:
                raise PolicyRefused(reason, f"{path}.{key}", value, floor, _RAISE)
        if cohort is not None and cohort < wanted.min_clients:
            remedy = "wait until more clients are enrolled"
            raise PolicyRefused(
                Reason.POLICY_COHORT, "round.cohort_size", cohort, wanted.min_clients, remedy
            )

        if committee.count:
            self._check_committee(committee)

    def _check_committee(self, given: CommitteeRules) -> None:
        wanted, path = self.require.aggregation.committee, "plan.aggregation.committee"
        for key, value, floor in (
            ("size", given.count, wanted.size),
            ("threshold", given.opens_with, wanted.threshold),
            ("corrupt", given.corrupt, wanted.corrupt),
        ):
            if value < floor:
                raise PolicyRefused(Reason.POLICY_COMMITTEE, f"{path}.{key}", value, floor, _RAISE)
        if not wanted.members:
            return
        known = ", ".join(wanted.members)
        others = [name for name in given.members if name not in wanted.members]
        if others or not given.members:
            named = others[0] if others else "drawn by the server"
            remedy = "ask the operator to name only these"
            raise _not(Reason.POLICY_COMMITTEE, f"{path}.members", named, known, remedy)

    def _check_update(self, plan: Plan) -> None:
        wanted, given = self.require.update, plan.update
        for key, value, most in (
            ("clip", given.clip, wanted.clip),
            ("value_bits", given.value_bits, wanted.value_bits),
            ("max_units_per_client", given.max_units_per_client, wanted.max_units_per_client),
        ):
            if most and value > most:
                remedy = "ask the operator to lower it"
                raise PolicyRefused(
                    Reason.POLICY_UPDATE,
                    f"plan.update.{key}",
                    value,
                    most,
                    remedy,
                    relation="above",
                )
        units, least = given.max_units_per_client, wanted.least_units_per_client
        if units < least:
            path = "plan.update.max_units_per_client"
            raise PolicyRefused(Reason.POLICY_UPDATE, path, units, least, _RAISE)


def _rank(trust: Trust) -> int:
    return list(Trust).index(trust)


def _not(reason: Reason, path: str, value: object, wanted: object, remedy: str) -> PolicyRefused:
    return PolicyRefused(reason, path, value, wanted, remedy, relation="not")
