"""One exchange over a Grid: a message to each of some nodes, and one reply from each."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

from flwr.app import Message
from flwr.serverapp import Grid
from httpx import HTTPError

__all__ = ["replies", "time_to_live"]

_LOG = logging.getLogger("flwr.fedprivacy")
_FIRST, _LAST, _GROWTH = 0.02, 0.5, 1.5  # seconds between two pulls
_CLOCKS = 300.0
"""Seconds by which a node's clock may be ahead: its reply is void after the message's time."""


def time_to_live(most: float, timeout: float) -> float:
    """How long the SuperLink keeps a message for a node that is away, in seconds; at most `most`.

    Not much longer than its reply is waited for: who comes back later is not to train, and charge
    its budget, for a phase that is over.
    """
    return min(most, timeout + _CLOCKS)


def replies(
    grid: Grid, messages: Sequence[Message], *, timeout: float
) -> Iterator[tuple[int, Message]]:
    """Push the messages; yield the node and its reply as they come, until `timeout` seconds.

    At most one reply of a node: what comes after the deadline, twice or unasked is never seen. A
    pull soon after the push and ever fewer later: a simulation answers at once, a deployment in
    seconds.
    """
    deadline, pause = time.monotonic() + timeout, _FIRST
    grid.push_messages(messages)
    asked = {m.metadata.message_id: m.metadata.dst_node_id for m in messages}
    while asked:
        is_last = time.monotonic() >= deadline
        for message_id in list(asked):
            for reply in _pulled(grid, message_id, asked):
                node = asked.pop(reply.metadata.reply_to_message_id, None)
                if node is not None:
                    yield node, reply
        if not asked or is_last:
            return
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * _GROWTH, _LAST)


def _pulled(grid: Grid, message_id: str, asked: dict[str, int]) -> list[Message]:
    """One node's reply, if it is there. One that Flower cannot read is the same as none, ever.

    Pulled by itself: what Flower raises would take the replies of all others with it, and what is
    pulled once is not to be had again.
    """
    try:
        return list(grid.pull_messages([message_id]))
    except HTTPError:
        raise  # the SuperLink, not a node
    except Exception as error:  # noqa: BLE001 - a node's bytes make Flower raise all sorts of things
        _LOG.warning("node %d sent what Flower cannot read", asked.pop(message_id), exc_info=error)
        return []
