"""An event loop with a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["LoopThread"]


class LoopThread:
    """Runs from `start` until it is stopped; whatever is still under way then is cancelled."""

    def __init__(self, name: str) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._turn, name=name, daemon=True)

    def start(self) -> None:
        """Begin to turn."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop; there is one once it was started."""
        if self._loop is None:
            raise RuntimeError("the loop was not started")
        return self._loop

    def soon(self, act: Callable[..., object], *arguments: object) -> None:
        """Call this in the loop's thread; nothing happens where it has not begun or has ended."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(act, *arguments)

    def call(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this in the loop's thread, which turns, to its end."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def stop(self) -> None:
        """End the loop, from inside or outside."""
        if self._loop is not None:
            self.soon(self._loop.stop)

    def join(self) -> None:
        """Wait until the loop has ended, if it was started."""
        if self._thread.ident is not None:
            self._thread.join()

    def _turn(self) -> None:
        loop = self.loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            while tasks := asyncio.all_tasks(loop):
                for task in tasks:
                    task.cancel()
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.close()
