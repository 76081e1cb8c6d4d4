"""How well scores tell members from others: ROC, area, accuracy, power at low false alarms."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fedprivacy.errors import ConfigurationError

__all__ = ["LEVELS", "Separation"]

Floats = NDArray[np.float64]
LEVELS = (0.01, 0.001)
"""Rates of false alarms at which power is told, where there are non-members enough."""
_POINTS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Separation:
    """Scores of members and of others, `(members,)` and `(others,)`; a member's should be higher.

    Raises `ConfigurationError` for none of either, and for a NaN.
    """

    members: Floats = field(repr=False)
    others: Floats = field(repr=False)

    def __post_init__(self) -> None:
        if not len(self.members) or not len(self.others):
            raise ConfigurationError(
                f"{len(self.members)} members and {len(self.others)} others: both are needed"
            )
        if np.isnan(self.members).any() or np.isnan(self.others).any():
            raise ConfigurationError("scores hold a NaN: the model did not train")

    @property
    def auc(self) -> float:
        """The chance that a member scores above another, ties counted half."""
        ranks = rankdata(np.concatenate([self.members, self.others]))
        n, m = len(self.members), len(self.others)
        return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))

    @property
    def balanced_accuracy(self) -> float:
        """Of the best threshold on these scores themselves."""
        alarms, hits = self.curve()
        return float(np.max(hits + 1 - alarms) / 2)

    def curve(self) -> tuple[Floats, Floats]:
        """False and true positive rates of all thresholds, from (0, 0) to (1, 1)."""
        cuts = np.unique(np.concatenate([self.members, self.others]))[::-1]
        members, others = np.sort(self.members), np.sort(self.others)
        # Counted, then divided: one less a share is not the share of the others to the last bit.
        hits = (len(members) - np.searchsorted(members, cuts, side="left")) / len(members)
        alarms = (len(others) - np.searchsorted(others, cuts, side="left")) / len(others)
        return np.append(0.0, alarms), np.append(0.0, hits)

    def power_at(self, level: float) -> float:
        """The most true positives with at most this rate of false ones.

        Raises `ConfigurationError` for fewer than 1 / level non-members: no rate that small shows.
        """
        least = math.ceil(1 / level - 1e-9)
        if len(self.others) < least:
            raise ConfigurationError(
                f"{len(self.others)} non-members cannot show a false positive rate of {level}: "
                f"at least {least}"
            )
        alarms, hits = self.curve()
        return float(hits[alarms <= level].max())

    def details(self) -> dict[str, float]:
        """What may be told of so many, by name."""
        told = {"auc": self.auc, "balanced_accuracy": self.balanced_accuracy}
        for level in LEVELS:
            if len(self.others) >= 1 / level - 1e-9:
                told[f"tpr_at_{level:g}"] = self.power_at(level)
        return {**told, "members": len(self.members), "others": len(self.others)}

    def points(self) -> tuple[tuple[float, float], ...]:
        """The ROC curve in at most 200 points: every one at low rates, fewer above."""
        alarms, hits = self.curve()
        if len(alarms) > _POINTS:
            spread = np.unique(np.geomspace(1, len(alarms), _POINTS).astype(int)) - 1
            kept = np.unique(np.append(spread, len(alarms) - 1))
            alarms, hits = alarms[kept], hits[kept]
        return tuple((float(a), float(h)) for a, h in zip(alarms, hits, strict=True))
