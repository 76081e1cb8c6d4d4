"""A simulation's job: which plan, which policy, which model on which data, and what goes wrong."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import Rng
from fedprivacy.rounds import ClientPolicy, Plan
from fedprivacy.rounds.auto import settle
from fedprivacy.rounds.config import Section, load_toml
from fedprivacy.rounds.policy import NoiseFloor
from fedprivacy.rounds.rules import AUTO, CommitteeRules, NoiseRules, Trust
from fedprivacy.rounds.sampling import smallest_cohort
from fedprivacy.secagg import COMMITTEES, PROTOCOLS, SHARED_KEYS, Adversary, Plain
from fedprivacy.simulation.dealing import FeatureScale, Population
from fedprivacy.simulation.faults import Drop
from fedprivacy.simulation.hospitals import deal_hospitals, hospital_name
from fedprivacy.simulation.phones import deal_phones, phone_name

__all__ = ["DataSpec", "FaultSpec", "Job", "JobFile", "ModelSpec", "Stores"]

_Rate = Annotated[float, Meta(gt=0.0)]

_NAMES: dict[str, Callable[[int], str]] = {"breast-cancer": hospital_name, "digits": phone_name}


class Stores(enum.Enum):
    """Where a simulation's clients keep their stores, which end with it."""

    FILES = "files"
    """In the run's folder, each commit synced, as a real client's is."""
    MEMORY = "memory"
    """For crowds: thousands of files would take longer than the rounds."""


class ModelSpec(Section, frozen=True, kw_only=True):
    """What is trained, and how the server steps."""

    kind: Literal["logistic"]
    learning_rate: _Rate
    momentum: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0


class DataSpec(Section, frozen=True, kw_only=True):
    """What it is trained on."""

    kind: Literal["breast-cancer", "digits"]
    held_out: float
    features: tuple[FeatureScale, ...]

    def client_name(self, number: int) -> str:
        """The name of a client of this data, counted from 1."""
        return _NAMES[self.kind](number)

    def deal(self, clients: int, *, rng: Rng) -> Population:
        """The data, dealt to so many clients; a function of `rng` alone."""
        deal = deal_hospitals if self.kind == "breast-cancer" else deal_phones
        return deal(clients, held_out=self.held_out, scales=self.features, rng=rng)


class FaultSpec(Section, frozen=True, kw_only=True):
    """What goes wrong."""

    drop: tuple[Drop, ...] = ()


class JobFile(Section, frozen=True, kw_only=True):
    """`job.toml` as it is written."""

    schema: Literal["fedprivacy/job/1"]
    plan: str
    policy: str
    policies: str = ""
    """A folder with a policy for each protocol, by its name: for a comparison of them."""
    seed: Annotated[int, Meta(ge=0)]
    clients: Annotated[int, Meta(ge=2, le=10_000)]
    rounds: Annotated[int, Meta(ge=1, le=100_000)]
    model: ModelSpec
    data: DataSpec
    faults: FaultSpec = FaultSpec()
    stores: Stores = Stores.FILES


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A job with its plan and its policy read."""

    file: JobFile
    plan: Plan
    policy: ClientPolicy
    why: str = ""
    """Of the protocol, where the plan left it open; empty otherwise."""
    policies: Path | None = None
    """The folder with a policy for each protocol, where the job names one."""

    @classmethod
    def from_toml(cls, path: str | Path) -> Job:
        """The job in a file, whose plan and policy lie relative to it.

        Raises `ConfigurationError` naming the file's key, the value, the bound and the remedy.
        """
        path = Path(path)
        file = load_toml(JobFile, path, "job")
        plan = Plan.from_toml(path.parent / file.plan)
        _check_drops(file, plan)
        settled = settle(plan, smallest_cohort(plan, file.clients))
        policy = ClientPolicy.from_toml(path.parent / file.policy)
        policies = path.parent / file.policies if file.policies else None
        return cls(file, settled.plan, policy, settled.why, policies)

    def with_protocol(self, name: str) -> Job:
        """The same job under another protocol, against the strongest adversary it withstands.

        `auto` takes the one that the plan's own adversary calls for. What the clients demand is
        set to just that, so that a comparison runs; the guarantee says what is lost.
        """
        if name == AUTO:
            return self._with(name, self.plan.aggregation.adversary)
        protocol = PROTOCOLS.get(name)
        if protocol is None:
            known = ", ".join([*sorted(PROTOCOLS), AUTO])
            raise ConfigurationError(f"--protocol {name} is unknown: choose from {known}")
        adversary = max(protocol.adversaries, key=lambda a: a.strength)
        return self._with(name, adversary)

    def with_policy_for(self, name: str) -> Job:
        """As `with_protocol`, with clients who ask for what the job's policy for it says.

        Raises `ConfigurationError` where there is no such policy.
        """
        job = self.with_protocol(name)
        if self.policies is None:
            return job
        policy = ClientPolicy.from_toml(self.policies / f"{name}.toml")
        return dataclasses.replace(job, policy=policy)

    def refusals(self, name: str) -> tuple[str, ...]:
        """What the job's own plan asks for that a protocol cannot do, as its check says it."""
        own, able = self.plan, self.with_protocol(name).plan.aggregation
        replace, rules = msgspec.structs.replace, own.aggregation
        found = []
        for lowered in (
            replace(able, adversary=rules.adversary, corrupt=rules.corrupt),
            replace(able, corrupt=rules.corrupt),
            able,
        ):
            try:
                replace(own, aggregation=lowered).check()
            except ConfigurationError as error:
                found.append(str(error))
        return tuple(dict.fromkeys(found))

    def with_seed(self, seed: int) -> Job:
        """The same job with the data dealt anew."""
        return dataclasses.replace(self, file=msgspec.structs.replace(self.file, seed=seed))

    def _committee(self, protocol: str) -> CommitteeRules:
        """The plan's own, where the protocol has one; else one that is drawn from the clients."""
        rules = self.plan.aggregation
        if protocol not in COMMITTEES:
            return CommitteeRules()
        fewest = smallest_cohort(self.plan, self.file.clients)
        drawn = CommitteeRules.drawn(rules.corrupt, fewest)
        return rules.committee if rules.committee.count else drawn

    def _adds_none(self, protocol: str) -> bool:
        """Whether the plan's noise cannot be added under a protocol."""
        trust, shared = self.plan.noise.trust, SHARED_KEYS.get(protocol)
        if trust is Trust.NONE:
            return False
        if shared is not None:
            return not shared.exact or trust is Trust.SERVER
        return protocol == Plain.name and trust is Trust.DISTRIBUTED

    def _with(self, protocol: str, adversary: Adversary) -> Job:
        replace = msgspec.structs.replace
        # Degree and threshold are those of the plan's own protocol: take the least that are safe.
        rules = replace(
            self.plan.aggregation,
            protocol=protocol,
            adversary=adversary,
            degree=0,
            threshold=0,
            committee=self._committee(protocol),
        )
        corrupt = rules.corrupt
        if protocol in SHARED_KEYS:
            # One client that colludes has the key of all: the comparison is without any.
            rules, corrupt = replace(rules, corrupt=0), 0
        plan, policy = replace(self.plan, aggregation=rules), self.policy
        if self._adds_none(protocol):
            # A share of noise protects nobody by itself, and noise in a sum that is approximate is
            # not what was accounted for: the comparison is with none at all, in which no client
            # with a budget would take part.
            plan = replace(plan, noise=NoiseRules())
            require = replace(policy.require, noise=NoiseFloor())
            policy = replace(policy, require=require, budget={})
        settled = settle(plan, smallest_cohort(plan, self.file.clients))
        settled.plan.check()
        rules, require = settled.plan.aggregation, policy.require
        floors = replace(
            require.aggregation,
            protocol=(rules.protocol,),
            adversary=rules.adversary,
            corrupt=min(require.aggregation.corrupt, corrupt),
        )
        policy = replace(policy, require=replace(require, aggregation=floors))
        return dataclasses.replace(self, plan=settled.plan, policy=policy, why=settled.why)


def _check_drops(file: JobFile, plan: Plan) -> None:
    name = file.data.client_name
    names = {name(i) for i in range(1, file.clients + 1)} | {*plan.aggregation.committee.members}
    for i, drop in enumerate(file.faults.drop):
        if drop.client not in names:
            raise ConfigurationError(
                f"job.faults.drop[{i}].client = {drop.client} is none of the {file.clients} "
                f"clients: choose {name(1)} to {name(file.clients)}"
            )
        if not 1 <= drop.round <= file.rounds:
            raise ConfigurationError(
                f"job.faults.drop[{i}].round = {drop.round} is outside [1, {file.rounds}]"
            )
