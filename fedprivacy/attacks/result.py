"""What an attack found: target, control and their difference, seed by seed, as data."""

from __future__ import annotations

from typing import Literal

import msgspec

from fedprivacy.attacks.threats import ThreatModel

__all__ = ["AttackResult", "Measured"]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of a result's parts."""


class Measured(_Part, frozen=True, kw_only=True):
    """One run of an attack, and of its control."""

    seed: int
    target: float
    """The attack's measure where the target took part."""
    control: float
    """The same measure of the same attack where the target was left out."""
    bound: float | None = None
    """What differential privacy allows the target at most, statistical slack included; none where
    nothing bounds it."""
    details: dict[str, float] = {}
    roc: tuple[tuple[float, float], ...] = ()
    """False and true positive rates, from (0, 0) to (1, 1), where the attack has them."""

    @property
    def difference(self) -> float:
        """How much better the attack does than its control."""
        return self.target - self.control


class AttackResult(_Part, frozen=True, kw_only=True):
    """One attack in one setting."""

    schema: Literal["fedprivacy/attack-result/1"] = "fedprivacy/attack-result/1"
    fedprivacy: str
    """The version that ran it."""
    attack: str
    setting: str
    metric: str
    """What is measured, with its unit; more is worse for the clients."""
    threat: ThreatModel
    protocol: str
    noise: str
    """Who adds it, and with which multiplier; `none` where nobody does."""
    plan_hash: str
    options: dict[str, float] = {}
    measured: tuple[Measured, ...]
    stopped: str = ""
    """By which of a client's checks, where there was nothing to attack."""

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(m.seed for m in self.measured)

    def wording(self) -> str:
        """What may be said of it: an attack that fails proves nothing."""
        if self.stopped:
            return f"stopped by a client's check ({self.stopped})"
        if any(m.bound is not None and m.target > m.bound for m in self.measured):
            return "above what differential privacy allows: the claim is false"
        if all(m.difference > 0 for m in self.measured):
            return "above its control with every seed"
        return "not above its control with every seed, which does not prove privacy"

    def to_json(self) -> str:
        """The result as text, with the difference of each run."""
        plain = msgspec.to_builtins(self)
        for run, measured in zip(plain["measured"], self.measured, strict=True):
            run["difference"] = measured.difference
        plain["wording"] = self.wording()
        return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> AttackResult:
        """The result in such a text; raises `msgspec.ValidationError` for anything else."""
        plain = msgspec.json.decode(text)
        if isinstance(plain, dict):
            plain.pop("wording", None)
            for run in plain.get("measured", ()):
                run.pop("difference", None)
        return msgspec.convert(plain, cls)
