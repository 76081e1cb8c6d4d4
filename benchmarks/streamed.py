"""One party of one-shot aggregation alone in a process, over a long vector that nobody holds.

Run by `bench_oneshot_memory.py`:

    streamed.py client NUMBER LENGTH FOLDER
    streamed.py server CLIENTS LENGTH FOLDER

A client reads its values from a source that makes them slice by slice, and writes each message that
it sends to a file of its own. The server reads the messages of so many clients one at a time, and
the sum slice by slice; the committee is in its process, whose shares do not grow with the vector.
What it prints: `idle`, the resident size after the imports, and `peak`, the highest there was,
as `memory.py` reads them, in bytes.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from memory import resident
from numpy.typing import NDArray
from oneshot_round import Round

from fedprivacy.secagg import SERVER, Done, Send

BITS = 16
SLICE = 1 << 20


@dataclass(frozen=True)
class Made:
    """Values within the bound that are a function of their place, made when they are read."""

    number: int
    length: int
    bound: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, part: slice) -> NDArray[np.int64]:
        places = np.arange(*part.indices(self.length), dtype=np.int64)
        places *= 48_271 + self.number
        places %= 2 * self.bound + 1
        places -= self.bound
        return places


def sent_by(case: Round, number: int, file: Path) -> None:
    client = case.client(number, Made(number, case.length, case.bound))
    with file.open("wb") as out:
        for effect in client.receive(SERVER, case.roster):
            if isinstance(effect, Send):
                out.write(len(effect.message).to_bytes(4, "big"))
                out.write(effect.message)


def messages_in(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stored:
        while size := stored.read(4):
            yield stored.read(int.from_bytes(size, "big"))


def check_sum(case: Round, clients: int, folder: Path) -> None:
    """Receive, open and read the sum; raises where a value is not the clients' sum."""
    for number in range(clients):
        for message in messages_in(folder / f"{number}"):
            pass_on(case, case.server.receive(case.cohort.members[number], message))
    total = None
    while total is None:
        for effect in case.server.advance():
            if isinstance(effect, Done):
                total = effect.total
            pass_on(case, [effect])
    sources = [Made(number, case.length, case.bound) for number in range(clients)]
    for start in range(0, case.length, SLICE):
        part = slice(start, min(start + SLICE, case.length))
        wrong = total[part]
        for source in sources:
            wrong -= source[part]
        if wrong.any():
            raise SystemExit(f"the sum is wrong at {start} or after")


def pass_on(case: Round, effects: Any) -> None:
    """What the server sends to members, and what they say."""
    for effect in effects:
        if isinstance(effect, Send) and effect.recipient in case.committee.members:
            member = case.members[case.committee.members.index(effect.recipient)]
            for said in list(member.receive(SERVER, effect.message)):
                if isinstance(said, Send):
                    pass_on(case, case.server.receive(effect.recipient, said.message))


def main() -> None:
    gc.collect()
    idle = resident("VmRSS")
    role, number, length, folder = sys.argv[1:]
    case = Round(BITS, int(length))
    if role == "client":
        sent_by(case, int(number), Path(folder) / number)
    else:
        check_sum(case, int(number), Path(folder))
    print(json.dumps({"idle": idle, "peak": resident("VmHWM")}))


if __name__ == "__main__":
    main()
