"""The table of targets in the README, from the measured rows: `python benchmarks/table.py`."""

from __future__ import annotations

import argparse
import enum
import sys
import tomllib
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from rows import Row, Spread, read_row

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
BEGIN = "<!-- what the benchmarks measured: `make bench` -->\n"
_FEW = 3  # rows that are named one by one
END = "<!-- end of what the benchmarks measured -->\n"
EXAMPLE = """example:
  python benchmarks/table.py --check && echo 'the README is fresh and every target is measured'
"""


class Bound(enum.Enum):
    """On which side of its number a target lies."""

    AT_LEAST = "at-least"
    AT_MOST = "at-most"

    @property
    def sign(self) -> str:
        return "≥" if self is Bound.AT_LEAST else "≤"

    def worst(self, ratios: Sequence[float]) -> float:
        return min(ratios) if self is Bound.AT_LEAST else max(ratios)

    def is_met(self, ratio: float, number: float) -> bool:
        return ratio >= number if self is Bound.AT_LEAST else ratio <= number

    def shown(self, ratio: float) -> str:
        """As many decimals as any target has, rounded to the worse side: no miss looks met."""
        worse = ROUND_FLOOR if self is Bound.AT_LEAST else ROUND_CEILING
        return str(Decimal(repr(ratio)).quantize(Decimal("0.001"), rounding=worse))


class Verdict(enum.Enum):
    """How far a target is reached."""

    MET = "met"
    MISSED = "missed"
    NOT_DONE = "not done"
    """Not half of it: less than half as fast, or more than twice as large."""
    NOT_MEASURED = "not measured"
    MEASURED = "measured"
    """There is no number to reach."""


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row of the table: what is aimed at, and the results that answer it."""

    id: str
    sentence: str
    results: Annotated[tuple[str, ...], Meta(min_length=1)]
    against: str = ""
    bound: Bound = Bound.AT_LEAST
    number: Annotated[float, Meta(gt=0.0)] | None = None

    def rows(self, rows: Mapping[str, Row]) -> list[Row]:
        """Its measured rows; none while one of them is missing."""
        found = [rows[name] for name in self.results if name in rows]
        return found if len(found) == len(self.results) else []

    def worst(self, rows: Mapping[str, Row]) -> float | None:
        """The ratio that counts; None where it is not measured, or there is no other side."""
        ratios = [row.ratio for row in self.rows(rows) if row.ratio is not None]
        return self.bound.worst(ratios) if ratios else None

    def verdict(self, rows: Mapping[str, Row]) -> Verdict:
        """From the ratio as measured, never from what is shown of it."""
        if not self.rows(rows):
            return Verdict.NOT_MEASURED
        if self.number is None:
            return Verdict.MEASURED
        ratio = self.worst(rows)
        if ratio is None:
            return Verdict.NOT_MEASURED
        if self.bound.is_met(ratio, self.number):
            return Verdict.MET
        half = self.number / 2 if self.bound is Bound.AT_LEAST else self.number * 2
        return Verdict.MISSED if self.bound.is_met(ratio, half) else Verdict.NOT_DONE


class _Targets(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: Literal["fedprivacy/targets/1"]
    target: tuple[Target, ...]


def read_targets(path: Path) -> tuple[Target, ...]:
    """The targets in a file; raises `msgspec.ValidationError` for anything else."""
    targets = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _Targets).target
    if len({target.id for target in targets}) != len(targets):
        raise msgspec.ValidationError(f"{path.name}: two targets share an id")
    return targets


def read_rows(folder: Path) -> dict[str, Row]:
    """Every measured row in a folder, by its id."""
    return {path.stem: read_row(path) for path in sorted(folder.glob("*.json"))}


# ---------------------------------------------------------------------- Markdown


def render(targets: Sequence[Target], rows: Mapping[str, Row]) -> str:
    """The block between the markers, both of them included."""
    lines = [
        "| what | against | target | measured | verdict |",
        "|---|---|---|---|---|",
        *(_line(target, rows) for target in targets),
    ]
    shown = [row for target in targets for row in target.rows(rows)]
    return BEGIN + "\n".join(lines) + "\n\n" + _measured_on(shown) + END


def _line(target: Target, rows: Mapping[str, Row]) -> str:
    aim = "" if target.number is None else f"{target.bound.sign} {target.number:g}"
    cells = [
        target.sentence,
        target.against,
        aim,
        _measured(target, rows),
        target.verdict(rows).value,
    ]
    return "| " + " | ".join(cells) + " |"


def _measured(target: Target, rows: Mapping[str, Row]) -> str:
    found = target.rows(rows)
    ratio = target.worst(rows)
    if ratio is not None:
        row = next(row for row in found if row.ratio == ratio)
        sides = f"{_amount(row.ours, row)} to {_amount(row.other, row)}"
        return f"{target.bound.shown(ratio)} ({sides})"
    if len(found) > _FEW:
        by_size = sorted(found, key=lambda row: row.ours.median)
        return f"{_alone(by_size[0])} to {_alone(by_size[-1])}"
    return "; ".join(_alone(row) for row in found)


def _alone(row: Row) -> str:
    parts = ", ".join(f"{name} {_amount(part, row)}" for name, part in row.parts.items())
    return f"{_amount(row.ours, row)}" + (f" ({parts})" if parts else "")


def _amount(spread: Spread | None, row: Row) -> str:
    if spread is None:
        return ""
    if row.quantity == "bytes":
        return f"{spread.median / 1e6:,.2f} MB"
    if spread.median < 1:
        return f"{spread.median * 1e3:,.1f} ms"
    return f"{spread.median:,.2f} s"


def _measured_on(rows: Sequence[Row]) -> str:
    """Where and with what, one line for each combination."""
    places: dict[str, None] = {}
    for row in rows:
        machine, used = row.machine, row.versions
        parts = [
            f"{machine.cores} cores of {machine.cpu}",
            f"{machine.memory_bytes / 2**30:.0f} GiB",
            machine.system,
            machine.python,
            f"numpy {used.numpy}",
            f"cryptography {used.cryptography}",
        ]
        places[", ".join(parts)] = None
    if not places:
        return "Nothing is measured yet.\n"
    peers = sorted({row.versions.peer for row in rows if row.versions.peer})
    against = f" The peer is {' and '.join(peers)}." if peers else ""
    return f"Medians, measured on {'; '.join(places)}.{against}\n"


# ---------------------------------------------------------------------- the README


def block_of(readme: str) -> str:
    """The block as it stands in a README; raises `SystemExit` where it has no place."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise SystemExit("README.md has not one place for the table: put both markers in")
    return BEGIN + readme.partition(BEGIN)[2].partition(END)[0] + END


def complaints(readme: str, targets: Sequence[Target], rows: Mapping[str, Row]) -> list[str]:
    """What `--check` finds wrong."""
    found = []
    if block_of(readme) != render(targets, rows):
        found.append("README.md is stale: run `python benchmarks/table.py`")
    for target in targets:
        missing = [name for name in target.results if name not in rows]
        found += [f"{target.id}: results/{name}.json is not measured" for name in missing]
    return found


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit with 1 if the README is stale or a target has no measured row",
    )
    parser.add_argument("--readme", type=Path, default=README, metavar="FILE")
    parser.add_argument("--results", type=Path, default=HERE / "results", metavar="FOLDER")
    parser.add_argument("--targets", type=Path, default=HERE / "targets.toml", metavar="FILE")
    asked = parser.parse_args(words)
    targets, rows = read_targets(asked.targets), read_rows(asked.results)
    readme = asked.readme.read_text("utf-8")
    if asked.check:
        found = complaints(readme, targets, rows)
        sys.stderr.writelines(f"{line}\n" for line in found)
        return 1 if found else 0
    asked.readme.write_text(readme.replace(block_of(readme), render(targets, rows)), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
