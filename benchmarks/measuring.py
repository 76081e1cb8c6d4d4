"""The clock and the pen of one benchmark: both sides in turn, and the row that comes of it."""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from rows import Machine, Quantity, Row, Spread, Versions, compared, write_row

__all__ = ["Bench"]

T = TypeVar("T")


@dataclass
class Bench:
    """One benchmark's clock and pen."""

    benchmark: Any
    folder: Path | None

    @staticmethod
    def seconds(call: Callable[[], object]) -> float:
        """How long a call takes."""
        started = perf_counter()
        call()
        return perf_counter() - started

    def in_turn(
        self, ours: Callable[[], T], other: Callable[[], T], *, rounds: int
    ) -> list[tuple[T, T]]:
        """What both sides return, round by round; the side that begins changes each time.

        One round before these warms both up and counts for nothing. The clock of pytest-benchmark
        runs over each pair.
        """
        pairs: list[tuple[T, T]] = []

        def pair() -> None:
            if len(pairs) % 2:
                second = other()
                pairs.append((ours(), second))
            else:
                first = ours()
                pairs.append((first, other()))

        self.benchmark.pedantic(pair, rounds=rounds, iterations=1, warmup_rounds=1)
        return pairs[-rounds:]

    def row(
        self,
        row_id: str,
        what: str,
        *,
        quantity: Quantity,
        sizes: Mapping[str, int | float | str],
        against: str = "",
        pairs: Sequence[tuple[float, float]] = (),
        alone: Sequence[float] = (),
        parts: Mapping[str, Sequence[float]] | None = None,
        found: Mapping[str, float] | None = None,
        peer: str = "",
    ) -> Row:
        """The row of these measurements: `pairs` against another side, or `alone`; not kept."""
        how = compared(quantity, pairs) if pairs else {"ours": Spread.of(alone)}
        row = Row(
            id=row_id,
            what=what,
            against=against,
            quantity=quantity,
            rounds=len(pairs or alone),
            parts={name: Spread.of(values) for name, values in (parts or {}).items()},
            found=dict(found or {}),
            sizes=dict(sizes),
            machine=_machine(),
            versions=_versions(peer),
            date=dt.datetime.now(dt.UTC).date().isoformat(),
            commit=_commit(),
            **how,
        )
        self.benchmark.extra_info[row_id] = row.ours.median if row.ratio is None else row.ratio
        return row

    def keep(self, row: Row) -> None:
        """Write the row where `--results` says."""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_row(row, self.folder)


def _machine() -> Machine:
    return Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _versions(peer: str) -> Versions:
    names = ("fedprivacy", "numpy", "cryptography")
    return Versions(**{name: version(name) for name in names}, peer=peer)


def _commit() -> str | None:
    """The commit measured; None where there is none, or files differ from it."""
    try:
        changed = _git("status", "--porcelain", "--", "fedprivacy")
        return None if changed else _git("rev-parse", "HEAD")
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    here = Path(__file__).parent.parent
    done = subprocess.run(["git", *words], cwd=here, check=True, capture_output=True, text=True)
    return done.stdout.strip()
