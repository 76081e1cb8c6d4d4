"""Schedules of faults: who is lost, in which round, before which message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from fedprivacy.rounds.config import Section
from fedprivacy.secagg import SERVER
from fedprivacy.transport import Delivery

__all__ = ["Drop", "Dropouts", "Phase"]


class Phase(Enum):
    """The phases of a round, by the message that a client, or a member of a committee, owes."""

    KEYS = "keys"
    SHARES = "shares"
    INPUT = "input"
    OPENING = "opening"
    CONSISTENCY = "consistency"
    UNMASKING = "unmasking"
    DECRYPTION = "decryption"


class Drop(Section, frozen=True, kw_only=True):
    """One loss: from its message of this phase on, the channel is dead for the round.

    `client` may be a member that the plan's committee names.
    """

    round: int
    client: str
    before: Phase


class Dropouts:
    """A channel that loses clients, at the server's phases.

    Nothing passes from a client once its phase has come, nor to it afterwards.
    """

    def __init__(self, losses: Mapping[str, Phase]) -> None:
        self._losses = losses
        self._order = [phase.value for phase in Phase]

    @classmethod
    def of_round(cls, drops: Iterable[Drop], number: int) -> Dropouts:
        """Those of one round."""
        return cls({drop.client: drop.before for drop in drops if drop.round == number})

    def __call__(self, delivery: Delivery) -> Iterable[Delivery]:
        loss = self._losses.get(delivery.client)
        if loss is None or delivery.phase not in self._order:
            return (delivery,)
        lost_at, now = self._order.index(loss.value), self._order.index(delivery.phase)
        # The server asks in the phase before the client answers: a client lost before the input
        # still receives what it needs to compute it.
        gone = now > lost_at if delivery.sender == SERVER else now >= lost_at
        return () if gone else (delivery,)
