"""Who attacks: where the adversary stands, what it may do, and what it knows besides."""

from __future__ import annotations

import enum

from fedprivacy.errors import ConfigurationError
from fedprivacy.rounds.config import Section
from fedprivacy.secagg import Adversary

__all__ = ["Auxiliary", "Position", "ThreatModel"]


class Position(enum.Enum):
    """Whose eyes the adversary has."""

    SERVER = "server"
    """It sees the messages to and from the server, and each sum."""
    CLIENT = "client"
    """It sees what one client is sent."""
    READER = "reader"
    """It sees what is released: the final model."""


class Auxiliary(enum.Enum):
    """What an adversary may know besides what it sees."""

    SIMILAR_DATA = "similar-data"
    """Other data from where the clients' own comes from."""
    LABELS = "labels"
    CANDIDATES = "candidates"
    """Whole examples of which it asks whether they were trained on."""
    PARTICIPATION = "participation"
    """Who was in which round."""


class ThreatModel(Section, frozen=True, kw_only=True):
    """A position, a conduct, colluding clients, and auxiliary knowledge. The model is public."""

    position: Position
    adversary: Adversary = Adversary.HONEST_BUT_CURIOUS
    corrupt: int = 0
    """Clients that tell the adversary what they know."""
    knows: tuple[Auxiliary, ...] = ()

    def check_covers(self, needed: ThreatModel, path: str) -> None:
        """Raise `ConfigurationError` where an attack needs more than this adversary has."""
        if self.position is not needed.position:
            raise ConfigurationError(
                f"{path}.position = {self.position.value} where the attack is a "
                f"{needed.position.value}'s: set it so"
            )
        if self.adversary.strength < needed.adversary.strength:
            raise ConfigurationError(
                f"{path}.adversary = {self.adversary.value} is below {needed.adversary.value}, "
                "which the attack takes: raise it"
            )
        if self.corrupt < needed.corrupt:
            raise ConfigurationError(
                f"{path}.corrupt = {self.corrupt} is below the attack's {needed.corrupt}: raise it"
            )
        for fact in needed.knows:
            if fact not in self.knows:
                raise ConfigurationError(
                    f"{path}.knows lacks {fact.value}, which the attack starts from: add it"
                )
