"""What an attack found: target, control and their difference, seed by seed, as data."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from fedprivacy.attacks.threats import ThreatModel
from fedprivacy.errors import ConfigurationError

__all__ = ["AttackResult", "Measured", "Picture"]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of a result's parts."""


class Picture(_Part, frozen=True, kw_only=True):
    """What was looked for, or what was found: rows of 8-bit pixels, channels innermost."""

    label: str
    width: Annotated[int, Meta(ge=1, le=1024)]
    height: Annotated[int, Meta(ge=1, le=1024)]
    channels: Literal[1, 3] = 1
    pixels: bytes = msgspec.field(default=b"", name="pixels_base64")

    @classmethod
    def of(cls, label: str, values: NDArray[np.float64]) -> Picture:
        """From values in [0, 1], `(height, width)` or `(channels, height, width)`.

        What is outside is cut; not a number is black.
        """
        planes = values[None] if values.ndim == 2 else values
        if planes.ndim != 3 or len(planes) not in (1, 3):
            raise ConfigurationError(f"a picture of shape {values.shape}: 1 or 3 planes are shown")
        cut = np.clip(np.nan_to_num(planes), 0.0, 1.0)
        pixels = np.rint(255 * np.moveaxis(cut, 0, -1)).astype(np.uint8)
        channels, height, width = planes.shape
        return cls(
            label=label,
            width=width,
            height=height,
            channels=1 if channels == 1 else 3,
            pixels=pixels.tobytes(),
        )


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
    pictures: tuple[Picture, ...] = ()
    """Original, recovered and control, where the attack looks for one image."""

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
            chance = f"by chance alone: 1 in {2 ** len(self.measured):,}"
            return f"above its control with every seed ({chance})"
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
