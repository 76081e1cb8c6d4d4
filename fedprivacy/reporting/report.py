"""One report of a run's folder: its record, and the attacks and the audit that stand beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import RenderableType

from fedprivacy.attacks.result import AttackResult
from fedprivacy.attacks.suite_folder import kept_results
from fedprivacy.errors import ConfigurationError
from fedprivacy.reporting.attack_parts import attack_part, audit_part
from fedprivacy.reporting.attacks import about, attack_report
from fedprivacy.reporting.blocks import Part, Told
from fedprivacy.reporting.run_assumptions import run_assumptions
from fedprivacy.reporting.run_page import page
from fedprivacy.reporting.run_parts import run_parts
from fedprivacy.reporting.text import counted
from fedprivacy.rounds.record import RunRecord

__all__ = ["Report"]


@dataclass(frozen=True, slots=True)
class Report:
    """What stands in a run's folder; a folder of attacks alone has no record."""

    record: RunRecord | None
    attacks: tuple[AttackResult, ...]

    @classmethod
    def of_folder(cls, folder: Path) -> Report:
        """Raises `ConfigurationError` for a folder with nothing to report, or with other files."""
        attacks, path = kept_results(folder), folder / "record.json"
        record = None
        if path.is_file():
            try:
                record = RunRecord.from_json(path.read_bytes())
            except (msgspec.MsgspecError, RecursionError) as error:
                raise ConfigurationError(f"{path} is no record of a run: {error}") from None
        if record is None and not attacks:
            raise ConfigurationError(
                f"{folder} has neither record.json nor results of attacks: name a run's folder"
            )
        return cls(record, attacks)

    def to_json(self) -> str:
        """All of it as one document."""
        assumed = run_assumptions(self.record, self.attacks)
        record = self.record
        last = (
            next((r.budget for r in reversed(record.rounds) if r.budget), None) if record else None
        )
        plain: dict[str, Any] = {
            "schema": "fedprivacy/report/1",
            "record": self.record,
            "budget_left": None if last is None else max(0.0, last.limit - last.epsilon),
            "attacks": [msgspec.json.decode(result.to_json()) for result in self.attacks],
            "assumptions": assumed,
        }
        return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode() + "\n"

    def to_html(self) -> str:
        """The page; raises `MissingExtra` without jinja2."""
        return page(self._title, self._lead, list(self._parts()))

    def attack_text(self) -> Iterator[RenderableType]:
        """The attacks for a terminal, a table each."""
        for name in dict.fromkeys(result.attack for result in self.attacks):
            results = [result for result in self.attacks if result.attack == name]
            yield from attack_report(about(name), results)

    @property
    def _title(self) -> str:
        if self.record is None:
            return "Attacks on bundled data"
        return f"Privacy of one run on {self.record.plan.dataset.id}"

    @property
    def _lead(self) -> str:
        if self.record is None:
            version = self.attacks[0].fedprivacy
            return f"{counted(len(self.attacks), 'setting')}; fedprivacy {version}"
        record = self.record
        return (
            f"{counted(len(record.rounds), 'round')} of {record.guarantee.protocol} "
            f"among {counted(len(record.clients), 'client')}; run {record.run_id}; "
            f"fedprivacy {record.fedprivacy}"
        )

    def _parts(self) -> Iterator[Part]:
        told = list(run_parts(self.record)) if self.record else []
        yield from told[:-1]
        yield attack_part(self.attacks)
        if self.record:
            yield audit_part(self.record.audit)
        assumed = run_assumptions(self.record, self.attacks)
        if assumed:
            rows = [(a.holds.value, a.text) for a in assumed]
            yield Part("assumptions", "What it rests on", [Told(rows)])
        yield from told[-1:]
