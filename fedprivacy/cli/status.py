"""What a server or a client says while it runs: a line on stderr for each thing that happens."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from fedprivacy.reporting.rounds import round_line
from fedprivacy.reporting.text import printable

if TYPE_CHECKING:
    from fedprivacy.errors import PeerError
    from fedprivacy.rounds import RoundRecord
    from fedprivacy.transport import PhaseMeter

__all__ = ["Status", "Stopping", "stopping"]


@dataclass(slots=True)
class Status:
    """Writes lines for people, or with `as_json` objects for machines; threads may share it.

    Nothing that is written is a message's content: names, numbers, reasons and codes alone.
    """

    as_json: bool
    of: int = 0
    number: int = 0
    phase: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, event: str, text: str, **fields: object) -> None:
        """One line: the text, or the event with its fields."""
        now = time.time()
        if self.as_json:
            line = msgspec.json.encode({"time": round(now, 3), "event": event, **fields}).decode()
        else:
            line = f"{time.strftime('%H:%M:%S', time.localtime(now))} {printable(text)}"
        with self._lock:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def refused(self, where: str, error: PeerError) -> None:
        """A connection that was refused, or broke."""
        code = error.reason.name.lower().replace("_", "-")
        self.tell(
            "connection",
            f"{where}: {error.detail} ({code})",
            where=where,
            reason=code,
            code=error.reason.value,
        )

    # ------------------------------------------------------------------ as a run's watcher

    def round_started(self, number: int, of: int) -> None:
        self.of, self.number = of, number
        self.tell("round", f"round {number} of {of}", round=number, of=of)

    def phase_ended(self, number: int, attempt: int, meter: PhaseMeter) -> None:
        self.phase = meter.phase
        lost = f", without {', '.join(meter.lost)}" if meter.lost else ""
        clients, members = len(meter.up), len(meter.committee_up)
        heard = [f"{clients} answered"] if clients or not members else []
        heard += [f"{members} members answered"] if members else []
        self.tell(
            "phase",
            f"round {number}, attempt {attempt}: {meter.phase} is over, {', '.join(heard)}{lost}",
            round=number,
            attempt=attempt,
            phase=meter.phase,
            answered=clients,
            members=members,
            lost=meter.lost,
            bytes_up=sum(meter.up.values()),
            bytes_down=sum(meter.down.values()),
            committee_bytes_up=sum(meter.committee_up.values()),
            committee_bytes_down=sum(meter.committee_down.values()),
        )

    def round_ended(self, record: RoundRecord) -> None:
        self.phase = ""
        self.tell(
            "round-ended",
            round_line(record, self.of),
            round=record.round,
            outcome=record.outcome,
            survivors=len(record.attempts[-1].survivors) if record.attempts else 0,
        )


@dataclass(slots=True)
class Stopping:
    """How often the process was asked to end."""

    asked: int = 0

    def __call__(self) -> bool:
        return self.asked > 0


@contextmanager
def stopping(status: Status) -> Iterator[Stopping]:
    """SIGTERM and SIGINT end what is under way first; a second one ends the process at once."""
    import signal
    from types import FrameType

    # A handler interrupts the main thread anywhere, also where it holds a lock that writing a line
    # takes: it only counts, and puts into a queue whose `put` may interrupt itself.
    stop, asked = Stopping(), queue.SimpleQueue[str]()

    def ask(number: int, _: FrameType | None) -> None:
        stop.asked += 1
        if stop.asked > 1:
            raise KeyboardInterrupt
        asked.put(signal.Signals(number).name)

    def tell() -> None:
        if name := asked.get():
            status.tell("stopping", f"{name}: what is under way is seen through", signal=name)

    teller = threading.Thread(target=tell, name="fedprivacy-stopping", daemon=True)
    teller.start()
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        asked.put("")
        teller.join()
