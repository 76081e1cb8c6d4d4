"""The same work on many pieces, on more cores where a pool is given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

__all__ = ["map_ahead"]

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 8  # pieces under way: what they hold does not grow with their number


def map_ahead(work: Callable[[T], R], pieces: Iterable[T], pool: Executor | None) -> Iterator[R]:
    """The results in order, a few pieces ahead; what the work raises is raised here.

    `work` is a function of a module and takes and gives plain values, so that processes can share
    it: threads would wait for the interpreter's lock, which most of it holds.
    """
    if pool is None:
        yield from map(work, pieces)
        return
    waiting: deque[Future[R]] = deque()
    for piece in pieces:
        waiting.append(pool.submit(work, piece))
        if len(waiting) >= _AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
