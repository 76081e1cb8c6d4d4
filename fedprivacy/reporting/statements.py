"""What statements of privacy are made of: sections of questions and answers, and assumptions."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec
from rich.console import RenderableType
from rich.text import Text

from fedprivacy.ledger import Spend
from fedprivacy.reporting.tables import figures, titled
from fedprivacy.reporting.text import printable

__all__ = [
    "SETTINGS",
    "Assumption",
    "Holding",
    "Release",
    "Section",
    "against_units",
    "definition",
    "resting_on",
    "short",
    "statement_parts",
]

SETTINGS = {
    "none": "no noise is added: nothing is promised",
    "client": "local: each client adds all the noise itself",
    "server": "central: the server adds the noise, and sees the exact sum",
    "distributed": "distributed: clients add shares of the noise inside a secure sum",
}
_NEIGHBOURS = {
    "add-or-remove-one": "one {unit} is there or is not",
    "replace-one": "one {unit} is replaced by another",
}


class Holding(enum.Enum):
    """Whether an assumption holds, and who says so."""

    CHECKED = "holds"
    ASSUMED = "assumed"
    BROKEN = "does not hold"

    @classmethod
    def of(cls, *, checked: bool) -> Holding:
        """What a check found."""
        return cls.CHECKED if checked else cls.BROKEN


class Assumption(msgspec.Struct, frozen=True):
    """What must be true for the statement to be, and whether it is."""

    holds: Holding
    text: str


class Release(msgspec.Struct, frozen=True):
    """One kind of release and how often it is charged."""

    event: str
    count: int

    @classmethod
    def of(cls, spend: Spend) -> Release:
        """The event's name, and its numbers by name."""
        numbers = ", ".join(f"{name} = {short(value)}" for name, value in spend.event.numbers)
        return cls(f"{spend.event.name} ({numbers})", spend.count)


@dataclass(frozen=True, slots=True)
class Section:
    """A title, and rows of what is asked and what is told."""

    title: str
    rows: tuple[tuple[str, str], ...]
    counted: bool = False
    """Whether the rows end in figures, which stand under one another."""


def resting_on(assumptions: Iterable[Assumption]) -> Section:
    """The section of assumptions, each with whether it holds."""
    return Section("What it rests on", tuple((a.holds.value, a.text) for a in assumptions))


def statement_parts(sections: Iterable[Section]) -> Iterator[RenderableType]:
    """The text for a terminal; sections without rows are left out."""
    first = True
    for section in sections:
        if not section.rows:
            continue
        if not first:
            yield Text()
        first = False
        yield titled(printable(section.title))
        if section.counted:
            yield figures([(printable(told), figure) for told, figure in section.rows])
            continue
        for question, answer in section.rows:
            yield Text(f"{printable(question)}: {printable(answer)}")


def definition(unit: str, adjacency: str) -> str:
    """The definition of privacy under which epsilon is told."""
    neighbours = _NEIGHBOURS.get(adjacency, adjacency).format(unit=unit)
    return f"(epsilon, delta)-differential privacy between data sets in which {neighbours}"


def against_units(delta: float, units: int | None) -> tuple[str, Holding]:
    """Delta beside one over the number of units, where that is known."""
    if units is None:
        return f"delta = {short(delta)}; the number of units is not stated", Holding.ASSUMED
    told = f"delta = {short(delta)}, 1/N = {short(1 / units)} for {units:,} units"
    if delta * units >= 1:
        return f"{told}: to publish one unit outright would be within this delta", Holding.BROKEN
    return f"{told}: delta is {short(delta * units)} of it", Holding.CHECKED


def short(value: float) -> str:
    """A figure with at most six digits."""
    return f"{value:.6g}"
