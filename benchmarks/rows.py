"""One measured row: what was compared, where, at which sizes, and how it came out.

Rows are written by the benchmarks and read by `table.py`; nobody types one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

__all__ = ["Machine", "Quantity", "Row", "Spread", "Versions", "read_row", "write_row"]

Quantity = Literal["seconds", "bytes"]

_Id = Annotated[str, Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
_Text = Annotated[str, Meta(min_length=1)]
_Amount = Annotated[float, Meta(ge=0.0)]
_Count = Annotated[int, Meta(ge=1)]
_Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of a row's parts: strict, so that a misspelt key is an error."""


class Spread(_Part, frozen=True, kw_only=True):
    """The middle of some measurements and how far they lie apart."""

    median: _Amount
    least: _Amount
    most: _Amount
    interquartile: _Amount
    """The third quartile less the first, of the measurements as the whole population."""

    def __post_init__(self) -> None:
        if not self.least <= self.median <= self.most < math.inf:
            raise ValueError(f"{self.least}, {self.median}, {self.most} are not in order")

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        first = third = values[0]
        if len(values) > 1:
            first, _, third = statistics.quantiles(values, n=4, method="inclusive")
        return cls(
            median=float(statistics.median(values)),
            least=float(min(values)),
            most=float(max(values)),
            interquartile=float(third - first),
        )


class Machine(_Part, frozen=True, kw_only=True):
    """Where a row was measured."""

    cpu: _Text
    cores: _Count
    memory_bytes: _Count
    system: _Text
    python: _Text


class Versions(_Part, frozen=True, kw_only=True):
    """Of what was measured; `peer` is a name and a version, or empty."""

    fedprivacy: _Text
    numpy: _Text
    cryptography: _Text
    peer: str = ""


class Row(_Part, frozen=True, kw_only=True):
    """One comparison, measured within one run: both sides in turn, `rounds` times each.

    Sizes may be held against one that follows from the case, such as that of a float32 vector.
    `ratio` is that of the medians: how many times as fast as the other side for seconds, how many
    times as large for bytes. `paired` is the spread of the same ratio taken within each round. A
    row without another side has neither.
    """

    schema: Literal["fedprivacy/benchmark/1"] = "fedprivacy/benchmark/1"
    id: _Id
    what: _Text
    against: str
    """Empty where there is no other side."""
    quantity: Quantity
    rounds: _Count
    ours: Spread
    other: Spread | None = None
    ratio: _Amount | None = None
    paired: Spread | None = None
    parts: dict[str, Spread] = {}
    """What `ours` is made of, where it was measured: seconds of each phase, say."""
    found: dict[str, float] = {}
    """What else came out, on either side: an accuracy, say."""
    sizes: dict[str, int | float | str]
    machine: Machine
    versions: Versions
    date: _Day
    """Of the measurement, in UTC."""
    commit: str | None = None

    def __post_init__(self) -> None:
        whole = {self.other is None, self.ratio is None, self.paired is None, not self.against}
        if len(whole) > 1:
            raise ValueError("a row has another side with a ratio and its spread, or none of them")
        if self.other is not None and self.ratio != ratio_of(
            self.quantity, self.ours.median, self.other.median
        ):
            raise ValueError(f"the ratio {self.ratio} is not that of the medians")


def ratio_of(quantity: Quantity, ours: float, other: float) -> float:
    """Times as fast for seconds, times as large for bytes."""
    return other / ours if quantity == "seconds" else ours / other


def compared(
    quantity: Quantity, pairs: Sequence[tuple[float, float]]
) -> Mapping[str, Spread | float]:
    """The fields of a row that say how its rounds came out; pairs are ours, then the other's."""
    ours = Spread.of([pair[0] for pair in pairs])
    other = Spread.of([pair[1] for pair in pairs])
    return {
        "ours": ours,
        "other": other,
        "ratio": ratio_of(quantity, ours.median, other.median),
        "paired": Spread.of([ratio_of(quantity, *pair) for pair in pairs]),
    }


def write_row(row: Row, folder: Path) -> Path:
    """Puts a row into `<id>.json` in a folder, in place of what was there."""
    path = folder / f"{row.id}.json"
    text = msgspec.json.format(msgspec.json.encode(row), indent=2).decode()
    path.write_text(text + "\n", "utf-8")
    return path


def read_row(path: Path) -> Row:
    """The row in a file; raises `msgspec.ValidationError` for anything else."""
    row = msgspec.json.decode(path.read_bytes(), type=Row)
    if row.id != path.stem:
        raise msgspec.ValidationError(f"{path.name} holds the row {row.id}")
    return row
