"""What holds, for whom, against whom: derived from a plan and a cohort, never written by hand."""

from __future__ import annotations

from dataclasses import dataclass

from fedprivacy.rounds.plan import Plan
from fedprivacy.rounds.privacy import PrivacyClaim
from fedprivacy.rounds.quorum import expected_losses, quorum_fault
from fedprivacy.rounds.rules import AggregationRules, CommitteeRules, Trust
from fedprivacy.secagg import PROTOCOLS, SHARED_KEYS, Adversary, Plain
from fedprivacy.secagg.parameters import SECURITY_BITS

__all__ = ["Guarantee", "defends_against"]

_SERVER = {
    Adversary.HONEST_BUT_CURIOUS: "a server that follows the protocol",
    Adversary.SEMI_MALICIOUS: "a server that is honest until all hold one root of keys and graph",
    Adversary.MALICIOUS: "a server that may lie",
}


def defends_against(rules: AggregationRules, *, runs_any_app: bool = False) -> str:
    """The adversary of a plan in a few words; `runs_any_app` as in `Guarantee`."""
    if rules.protocol == Plain.name:
        return "nothing is hidden, the server sees every update"
    if runs_any_app:
        return "clients run whatever app the server sends, so that it must send this one"
    if rules.protocol in SHARED_KEYS:
        return (
            "clients share a key: the server follows the protocol, and no client colludes with it"
        )
    return f"the adversary is {rules.adversary.value}, {_SERVER[rules.adversary]}"


_BARE = {True: "The sum itself is exact", False: "No noise is in the sum"}


@dataclass(frozen=True, slots=True)
class Guarantee:
    """A plan's promise for one cohort, in figures and in sentences.

    `honest_in_sum` is the least number of honest clients in any sum that is revealed; zero where
    every single update is. `claim` is the row of `proofs/claims.toml` that the protocol answers to.
    """

    protocol: str
    claim: str
    adversary: Adversary
    cohort: int
    corrupt: int
    threshold: int
    degree: int
    """Zero: everyone is everyone's neighbour."""
    losses: int
    """Clients that may be lost at any moment."""
    committee: CommitteeRules
    """Who opens the sums; `threshold` is then how many of its members it takes."""
    attempts: int
    honest_in_sum: int
    unit: str
    noise: Trust
    privacy: PrivacyClaim | None
    """Of one unit, by noise; None where the sum is exact."""
    runs_any_app: bool = False
    """Clients run whatever code the server sends: then all holds only while that is the client's
    side of the protocol, whatever adversary the plan names."""

    @classmethod
    def of(cls, plan: Plan, cohort: int, length: int, *, runs_any_app: bool = False) -> Guarantee:
        """The guarantee of a plan for a cohort of so many clients, whose quorum holds.

        `length` is the number of parameters in an update.
        """
        rules = plan.aggregation
        quorum = plan.quorum(cohort)
        protects = rules.protocol != Plain.name and not quorum_fault(
            rules, cohort, quorum.threshold, quorum.degree
        )
        committee = rules.committee
        needed = 0 if committee.count else quorum.threshold
        losses = cohort - max(needed, rules.min_clients)
        return cls(
            protocol=rules.protocol,
            claim=PROTOCOLS[rules.protocol].claim,
            adversary=Adversary.HONEST_BUT_CURIOUS if runs_any_app else rules.adversary,
            cohort=cohort,
            corrupt=rules.corrupt,
            threshold=quorum.threshold,
            degree=quorum.degree,
            losses=expected_losses(rules, cohort) if quorum.degree else max(losses, 0),
            committee=committee,
            attempts=rules.attempts,
            honest_in_sum=quorum.honest_in_sum if protects else 0,
            unit=plan.dataset.unit,
            noise=plan.noise.trust,
            privacy=PrivacyClaim.of(plan, cohort, length),
            runs_any_app=runs_any_app,
        )

    def holds(self) -> tuple[str, ...]:
        """What is promised, a sentence each."""
        return (*self._hidden(), *(self.privacy.holds() if self.privacy else ()))

    def _hidden(self) -> tuple[str, ...]:
        if not self.honest_in_sum:
            return ()
        lost = f"Up to {self.losses:,} clients may be lost at any moment."
        if self.committee.count:
            return (*self._opened_by_committee(), lost)
        if self.adversary is Adversary.SEMI_MALICIOUS:
            return (*self._semi_malicious(), lost)
        hidden = (
            f"Against {_SERVER[self.adversary]} in league with up to {self.corrupt:,} of "
            f"{self.cohort:,} clients, an honest client's update is seen only inside a sum with at "
            f"least {self.honest_in_sum:,} honest clients{self._but_for_chance()}."
        )
        once = "In one round, across all attempts, at most one sum that holds it is revealed."
        if self.protocol in SHARED_KEYS:
            return (*self._under_a_shared_key(), lost)
        if self.adversary is Adversary.HONEST_BUT_CURIOUS:
            once = "A server that follows the protocol reveals one such sum in a round."
        return hidden, once, lost

    def _opened_by_committee(self) -> tuple[str, ...]:
        committee = self.committee
        k, t, c = committee.count, committee.opens_with, committee.corrupt
        whose = "members drawn from the clients" if not committee.members else "named members"
        hidden = (
            f"Against {_SERVER[self.adversary]} in league with up to {self.corrupt:,} of "
            f"{self.cohort:,} clients and {c} of the committee's {k} members, an honest client's "
            f"update is seen only inside a sum with at least {self.honest_in_sum:,} honest clients."
        )
        opens = (
            f"Nobody alone can decrypt: it takes {t} of {k} {whose}, who open one sum of keys and "
            "no key. A client sends one message and is gone."
        )
        once = "In one round, across all attempts, at most one sum that holds it is opened."
        lost = (
            f"Up to {k - t} members may be lost at any moment, silent ones in league with the "
            "server included."
        )
        return hidden, opens, once, lost

    def _under_a_shared_key(self) -> tuple[str, ...]:
        hidden = (
            "Against a server that follows the protocol and colludes with no client, an honest "
            f"client's update is seen only inside a sum with at least {self.honest_in_sum:,} "
            "clients."
        )
        opens = (
            "The clients share one secret key, which the server lacks; they decrypt one sum a round"
            " and tell the server."
        )
        return hidden, opens

    def _but_for_chance(self) -> str:
        return f", except with probability at most {self._chance}" if self.degree else ""

    @property
    def _chance(self) -> str:
        return f"{self.attempts} x rounds x 2^-{SECURITY_BITS}"

    def _semi_malicious(self) -> tuple[str, ...]:
        share = self.honest_in_sum / self.cohort
        opens = (
            f"Except with probability at most {self._chance}, an honest input opens only inside a "
            f"sum of at least {self.honest_in_sum:,} honest inputs ({share:.0%} of {self.cohort:,} "
            "clients); several disjoint sums are possible."
        )
        against = (
            f"This is against {_SERVER[self.adversary]}, and may deviate and choose who is lost "
            f"afterwards, in league with up to {self.corrupt:,} of {self.cohort:,} clients that "
            "were corrupt before the graph was drawn."
        )
        once = "In one round, across all attempts, an input opens in one sum at most."
        return opens, against, once

    def does_not_hold(self) -> tuple[str, ...]:
        """What a reader might think is promised, and is not."""
        lines = []
        if self.runs_any_app:
            lines.append(
                "Nothing holds against a server that sends another app: clients run it, whatever "
                "it does, unless every one of them takes trusted apps alone (--trusted-entities)."
            )
        if not self.honest_in_sum:
            lines.append("Nothing is hidden: the server sees every client's update.")
        if self.noise is Trust.NONE:
            exact = self.protocol not in SHARED_KEYS or SHARED_KEYS[self.protocol].exact
            lines.append(
                f"{_BARE[exact]}: what it tells of one {self.unit} is not bounded, and "
                "sums of several rounds can be compared."
            )
            lines.append(
                "Whether a client's training failed is seen, and a server that chooses what is "
                "trained on may learn from it."
            )
        if self.privacy:
            lines += self.privacy.does_not_hold()
        if self.adversary is Adversary.SEMI_MALICIOUS:
            lines.append(
                "Not against a server that lies from the start: it could draw a graph in which its "
                "own clients surround a victim, or try again until they do."
            )
        if self.committee.count:
            lines.append(
                f"Not against {self.committee.opens_with} or more members that are in league: they "
                "can open every client's update."
            )
            lines.append(
                "It rests on the hardness of ring learning with errors, and on the assumption that "
                "sums of keys and errors tell no more of one than for Gaussians."
            )
        if self.protocol in SHARED_KEYS:
            lines += self._shared_key_limits()
        if self.protocol != Plain.name:
            lines += [
                "A client's values are not checked: one that lies can spoil the sum.",
                "A server, or too many lost clients, can end a round without a result.",
                "Not claimed: timing and other side channels of numpy and Python.",
            ]
        return tuple(lines)

    def _shared_key_limits(self) -> list[str]:
        together = (
            "The clients share the secret key: any one of them together with the server, or with "
            "whoever taps the server's traffic, sees every update. One stolen key file opens all "
            "that was ever encrypted under it."
        )
        deviates = (
            "Not against a server that deviates: clients check whose ciphertexts are in a sum, "
            "which holds against adding alone."
        )
        drawn = (
            "Keys and errors are drawn by the library (TenSEAL, SEAL), from the operating system "
            "and not through this package: that they are good is assumed of it."
        )
        lines = [together, deviates, "Every client sees each round's sum.", drawn]
        if not SHARED_KEYS[self.protocol].exact:
            lines.append(
                "The sum is approximate: it is rounded to integers, which is right while the "
                "scheme's error stays below a half. That was measured, not proved, and no noise "
                "can be accounted for in it."
            )
        return lines

    def __str__(self) -> str:
        kept = [f"+ {line}" for line in self.holds()]
        return "\n".join([*kept, *(f"- {line}" for line in self.does_not_hold())])
