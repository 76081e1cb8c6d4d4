"""A plan from a few figures on a command line, where there is no file of one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from fedprivacy.cli.choices import chosen
from fedprivacy.errors import ConfigurationError
from fedprivacy.rounds import Plan
from fedprivacy.rounds.quorum import share_of
from fedprivacy.rounds.rules import (
    AUTO,
    CLIENT_UNIT,
    AggregationRules,
    CommitteeRules,
    DatasetRules,
    UpdateRules,
)
from fedprivacy.secagg import COMMITTEES, Adversary
from fedprivacy.vector import Weights

__all__ = ["Figures"]


_BITS = 16


@dataclass(frozen=True, slots=True)
class Figures:
    """What was asked for: None where a flag was left out; `corrupt` as written, rate or count."""

    corrupt: str | None
    dropout: float | None
    adversary: str | None
    bits: int | None
    min_clients: int | None
    protocol: str | None

    def check_none(self, path: Path) -> None:
        """Raise `ConfigurationError` for a figure beside a file, which says it already."""
        for key in ("corrupt", "dropout", "adversary", "bits", "min_clients", "protocol"):
            if getattr(self, key) is not None:
                flag = f"--{key.replace('_', '-')}"
                raise ConfigurationError(f"{flag} has no use with a file: {path} says it already")

    def plan(self, clients: int) -> Plan:
        """The plan for a cohort; raises `ConfigurationError` for figures that make none.

        It protects whole clients, whose updates have norm 1 and count alike.
        """
        dropout = 0.0 if self.dropout is None else self.dropout
        if not 0.0 <= dropout < 1.0:
            raise ConfigurationError(
                f"--dropout {dropout} is outside [0, 1): give the share that may be lost"
            )
        adversary = self._adversary()
        corrupt = self._corrupt(adversary, clients)
        least = 2 if self.min_clients is None else self.min_clients
        drawn = CommitteeRules.drawn(corrupt, clients)
        plan = Plan(
            schema="fedprivacy/plan/1",
            dataset=DatasetRules(id="figures", unit=CLIENT_UNIT),
            aggregation=AggregationRules(
                protocol=self.protocol or AUTO,
                adversary=adversary,
                min_clients=least,
                corrupt=corrupt,
                dropout=dropout,
                committee=drawn if self.protocol in COMMITTEES else CommitteeRules(),
            ),
            update=UpdateRules(clip=1.0, value_bits=self.bits or _BITS, weights=Weights.UNIFORM),
        )
        plan.check()
        return plan

    def _adversary(self) -> Adversary:
        if self.adversary is None:
            return Adversary.MALICIOUS
        return chosen(Adversary, "--adversary", self.adversary)

    def _corrupt(self, adversary: Adversary, clients: int) -> int:
        """The corrupt as a number of clients."""
        written = self.corrupt or "0"
        if written.isascii() and written.isdigit():
            count = int(written)
        else:
            count = share_of(_rate(written), clients)
            if adversary is Adversary.MALICIOUS:
                raise ConfigurationError(
                    f"--corrupt {written} is a rate, and a malicious server that picks the cohort "
                    "can pack it (5 % of 1,000 enrolled are half of a cohort of 100): give the "
                    f"number of corrupt among all enrolled, such as --corrupt {count}"
                )
        if count >= clients:
            raise ConfigurationError(
                f"--corrupt {written} of {clients} clients leaves no honest one: give fewer, or "
                "enrol more clients"
            )
        return count


def _rate(written: str) -> float:
    """A rate in [0, 1), which is told from a count by its point or its exponent."""
    try:
        rate = float(written)
    except ValueError:
        rate = math.nan
    if not 0.0 <= rate < 1.0:
        raise ConfigurationError(
            f"--corrupt {written} is neither a count nor a rate in [0, 1): write 50, say, or 0.05"
        )
    return rate
