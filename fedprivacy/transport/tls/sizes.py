"""How long an honest client's messages are, by the plan: what is longer is not read."""

from __future__ import annotations

from fedprivacy.rounds import Plan
from fedprivacy.rounds.traffic import nominal_sum_plan
from fedprivacy.secagg import PROTOCOLS

__all__ = ["longest_message"]

_ROOM = 1 << 14
"""For the envelope, and for the short messages that depend on who was lost."""


def longest_message(plan: Plan, *, clients: int, length: int) -> int:
    """Bytes of a client's longest message in a round over at most so many clients.

    Twice the longest of a round in which nobody is lost, and some room.
    """
    protocol = PROTOCOLS[plan.aggregation.protocol]
    sizes = protocol.upload_sizes(nominal_sum_plan(plan, clients, length))
    return 2 * max(size for _, size in sizes) + _ROOM
