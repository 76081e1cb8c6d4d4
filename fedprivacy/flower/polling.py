"""One exchange over a Grid: a message to each of some nodes, and one reply from each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from flwr.app import Message
from flwr.serverapp import Grid

__all__ = ["replies"]

_FIRST, _LAST, _GROWTH = 0.02, 0.5, 1.5  # seconds between two pulls


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
        for reply in grid.pull_messages(list(asked)):
            node = asked.pop(reply.metadata.reply_to_message_id, None)
            if node is not None:
                yield node, reply
        if not asked or is_last:
            return
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * _GROWTH, _LAST)
