"""One exchange over a Grid: a message to each of some nodes, and one reply from each."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from threading import Thread

from flwr.app import Message
from flwr.serverapp import Grid
from httpx import HTTPError

__all__ = ["replies", "time_to_live"]

_LOG = logging.getLogger("flwr.fedprivacy")
_FIRST, _LAST, _GROWTH = 0.02, 0.5, 1.5  # seconds between two pulls
_PATIENCE = 5.0
"""Seconds for which a pull alone is waited for; the longest that a node delays the others."""
_GRACE = 30.0
"""Seconds after the deadline in which a pull that was begun before may end."""
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
    seconds. Flower waits inside a pull for what a node has announced and not uploaded, for hours if
    the node wants it: a pull that takes long is left to its thread while the others are looked
    after, and given up half a minute after the deadline.
    """
    deadline, pause = time.monotonic() + timeout, _FIRST
    grid.push_messages(messages)
    asked = {m.metadata.message_id: m.metadata.dst_node_id for m in messages}
    under_way: dict[str, Future[list[Message]]] = {}
    while asked:
        is_last = time.monotonic() >= deadline
        for message_id in list(asked):
            patience = 0.0 if message_id in under_way else _PATIENCE
            pull = under_way.pop(message_id, None) or _pull(grid, message_id)
            if not _is_over(pull, patience):
                under_way[message_id] = pull
                continue
            yield from _came(pull, message_id, asked)
        if not asked or is_last:
            break
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * _GROWTH, _LAST)
    for message_id, pull in under_way.items():
        if _is_over(pull, max(0.0, deadline + _GRACE - time.monotonic())):
            yield from _came(pull, message_id, asked)


def _pull(grid: Grid, message_id: str) -> Future[list[Message]]:
    """Begin to pull one node's reply, if it is there.

    By itself: what Flower raises would take the replies of all others with it, and what is pulled
    once is not to be had again. In a daemon, which a process does not wait for when it ends.
    """
    found: Future[list[Message]] = Future()

    def pull() -> None:
        try:
            found.set_result(list(grid.pull_messages([message_id])))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is taken
            found.set_exception(error)

    Thread(target=pull, daemon=True).start()
    return found


def _is_over(pull: Future[list[Message]], seconds: float) -> bool:
    return bool(wait([pull], timeout=seconds).done)


def _came(
    pull: Future[list[Message]], message_id: str, asked: dict[str, int]
) -> Iterator[tuple[int, Message]]:
    """The reply that was found, if any: of the node that was asked, whatever it says of itself.

    One that Flower cannot read is the same as none, ever.
    """
    try:
        found = pull.result()
    except HTTPError:
        raise  # the SuperLink, not a node
    except Exception as error:  # noqa: BLE001 - a node's bytes make Flower raise all sorts of things
        _LOG.warning("node %d sent what Flower cannot read", asked.pop(message_id), exc_info=error)
        return
    if found:
        yield asked.pop(message_id), found[0]
