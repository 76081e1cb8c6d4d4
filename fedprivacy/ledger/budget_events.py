"""What a budget is charged for, and who says what it costs.

The ledger keeps events as names and numbers, so that its chain means the same to every release of
this package; an accountant, injected, turns them into epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Protocol

from msgspec import Meta

from fedprivacy.errors import ConfigurationError
from fedprivacy.wire import Record

__all__ = ["BudgetTerms", "EpsilonAccountant", "PrivacyEvent", "Spend", "charged_epsilon", "merged"]

MAX_NAME = 64
_MAX_NUMBERS = 32
MAX_COUNT = 1 << 53
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Label = Annotated[str, Meta(min_length=1, max_length=128)]


class PrivacyEvent(Record, frozen=True):
    """What one release tells: the mechanism's name, and its numbers by name, in order.

    `numbers` are finite and not negative. Whether they make sense is for the accountant to say.
    """

    name: Name
    numbers: Annotated[tuple[tuple[Name, float], ...], Meta(max_length=_MAX_NUMBERS)] = ()

    def __post_init__(self) -> None:
        if fault := _numbers_fault(self.numbers):
            raise ValueError(fault)  # to the decoder: the bytes are no event

    @classmethod
    def of(cls, name: str, **numbers: float) -> PrivacyEvent:
        """The event in its one form; raises `ConfigurationError` naming a number that is none."""
        ordered = tuple((key, numbers[key]) for key in sorted(numbers))
        if fault := _numbers_fault(ordered):
            raise ConfigurationError(f"event.{name}.{fault}: state what the mechanism did")
        if not 1 <= len(name) <= MAX_NAME or len(numbers) > _MAX_NUMBERS:
            raise ConfigurationError(
                f"event.{name[:MAX_NAME]} has a name of {len(name)} letters and {len(numbers)} "
                f"numbers where 1 to {MAX_NAME} and at most {_MAX_NUMBERS} are kept: shorten it"
            )
        # A negative zero becomes zero: equal events have equal bytes.
        return cls(name, tuple((key, float(value) + 0.0) for key, value in ordered))


def _numbers_fault(numbers: Sequence[tuple[str, float]]) -> str | None:
    names = [name for name, _ in numbers]
    if names != sorted(set(names)):
        return f"numbers = {names} are not in order, each once"
    for name, value in numbers:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{name} = {value!r} is not a number"
        if not 0 <= value < math.inf:  # NaN compares with nothing
            return f"{name} = {value} is outside [0, infinity)"
    return None


class Spend(Record, frozen=True):
    """One event, released so many times."""

    event: PrivacyEvent
    count: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 1


class BudgetTerms(Record, frozen=True):
    """How much may be spent, and under which definition.

    `adjacency` names the relation of neighbours as the plan does.
    """

    adjacency: Label
    epsilon: float
    delta: float

    def check(self, path: str) -> None:
        """Raise `ConfigurationError` for a limit that bounds nothing."""
        _check_number(f"{path}.epsilon", self.epsilon, math.inf)
        _check_number(f"{path}.delta", self.delta, 1.0)


def _check_number(path: str, value: float, end: float) -> None:
    if not 0 < value < end:
        raise ConfigurationError(f"{path} = {value!r} is outside (0, {end}): give a number in it")


class EpsilonAccountant(Protocol):
    """Says what events cost together.

    It is asked before an event is chosen by what earlier ones told, so it must be a filter: valid
    where later events depend on earlier outputs. It is asked under the ledger's lock.
    """

    @property
    def method(self) -> str:
        """The kind of accounting, for the record."""

    def epsilon(self, spends: Sequence[Spend], terms: BudgetTerms) -> float:
        """Epsilon of all of them at the terms' delta and adjacency, infinite where none holds."""


def charged_epsilon(
    accountant: EpsilonAccountant, spends: Mapping[PrivacyEvent, int], terms: BudgetTerms
) -> float:
    """What an accountant says, refused unless it can be a cost."""
    listed = [Spend(event, count) for event, count in spends.items() if count]
    listed.sort(key=lambda spend: (spend.event.name, spend.event.numbers))
    epsilon = accountant.epsilon(listed, terms) if listed else 0.0
    if not epsilon >= 0:
        raise ConfigurationError(
            f"accountant.epsilon = {epsilon} is no cost, which is at least 0: mend {accountant!r}"
        )
    return float(epsilon)


def merged(spends: Iterable[Spend]) -> tuple[Spend, ...]:
    """Equal events counted together, in order; raises `ConfigurationError` for none at all."""
    counts: dict[PrivacyEvent, int] = {}
    for spend in spends:
        if not spend.count >= 1:
            raise ConfigurationError(
                f"spend.count = {spend.count!r} is below 1: nothing is ever handed back"
            )
        counts[spend.event] = counts.get(spend.event, 0) + spend.count
    if not counts:
        raise ConfigurationError("spends = () charge nothing: state what is released")
    if max(counts.values()) > MAX_COUNT:
        raise ConfigurationError(f"spend.count = {max(counts.values())} is above {MAX_COUNT}")
    ordered = sorted(counts.items(), key=lambda item: (item[0].name, item[0].numbers))
    return tuple(Spend(event, count) for event, count in ordered)
