"""Whose inputs are summed, and who can open that sum, given who could not open whose share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Opening", "choose_opening"]


class Opening(NamedTuple):
    """The clients of the sum, and the members that hold a share of every one of them."""

    survivors: frozenset[int]
    members: frozenset[int]


def choose_opening(
    clients: frozenset[int],
    unopened: Mapping[int, frozenset[int]],
    *,
    threshold: int,
    corrupt: int,
) -> Opening:
    """The sum to ask for; `unopened` are the clients that each member complains about.

    A client that more members complain about than may be corrupt is left out: one of them is
    honest. Others are left out, those with most complaints first, until t members have none and no
    more than may be corrupt still complain; at least t members there must be.
    """
    survivors = clients
    while True:
        members = frozenset(m for m, bad in unopened.items() if survivors.isdisjoint(bad))
        complaints = Counter(i for bad in unopened.values() for i in bad if i in survivors)
        worst = {i for i, count in complaints.items() if count > corrupt}
        if not worst and len(members) >= max(threshold, len(unopened) - corrupt):
            return Opening(survivors, members)
        survivors -= worst or {min(complaints, key=lambda i: (-complaints[i], i))}
