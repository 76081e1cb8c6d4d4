"""The same work on many pieces, on more cores where a pool is given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import TypeVar

__all__ = ["map_ahead"]

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 8  # pieces under way: what they hold does not grow with their number


def map_ahead(work: Callable[[T], R], pieces: Iterable[T], pool: Executor | None) -> Iterator[R]:
    """The results in order, a few pieces ahead; what the work raises is raised here.

    `work` is a function of a module, without effects, from plain values to plain values: processes
    of this machine can share it (threads would wait for the interpreter's lock, which most of it
    holds), and what a process that died has left undone is done here.
    """
    if pool is None:
        yield from map(work, pieces)
        return
    waiting: deque[tuple[T, Future[R] | None]] = deque()
    for piece in pieces:
        waiting.append((piece, _submitted(pool, work, piece)))
        if len(waiting) >= _AHEAD:
            yield _result(work, *waiting.popleft())
    while waiting:
        yield _result(work, *waiting.popleft())


def _submitted(pool: Executor, work: Callable[[T], R], piece: T) -> Future[R] | None:
    try:
        return pool.submit(work, piece)
    except BrokenExecutor:
        return None


def _result(work: Callable[[T], R], piece: T, future: Future[R] | None) -> R:
    try:
        return work(piece) if future is None else future.result()
    except BrokenExecutor:
        return work(piece)
