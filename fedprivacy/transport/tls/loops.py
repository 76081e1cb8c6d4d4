"""An event loop with a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["LoopThread"]


class LoopThread:
    """Runs until it is stopped; whatever is still under way then is cancelled."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._turn, name=name, daemon=True)

    def start(self) -> None:
        """Begin to turn."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def soon(self, act: Callable[..., object], *arguments: object) -> None:
        """Call this in the loop's thread; nothing happens where the loop has ended."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(act, *arguments)

    def call(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this in the loop's thread, which turns, to its end."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def stop(self) -> None:
        """End the loop, from inside or outside."""
        self.soon(self.loop.stop)

    def join(self) -> None:
        """Wait until the loop has ended; one that never began is let go of."""
        if self._thread.ident is None:
            self.loop.close()
        else:
            self._thread.join()

    def _turn(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            while tasks := asyncio.all_tasks(self.loop):
                for task in tasks:
                    task.cancel()
                self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.close()
