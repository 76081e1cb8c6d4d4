"""Where the time goes: a client and the server at three sizes, as text under results/.

    python benchmarks/profiles.py [FOLDER]

One round of each case, everyone in this process; the profiler runs only while the party works that
the text is about. Its own cost falls on short functions, so the shares are a guide, not a measure.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sums import Case, Parties, float32_vector

from fedprivacy.secagg import SERVER, Aborted, Done, Effect, Send

SIZES = {
    "16-clients-10^6-values": Case(16, 9, 5, 1_000_000, 22, lost=2, protocol="secagg+"),
    "100-clients-10^5-values": Case(100, 29, 11, 100_000, 16, lost=10, protocol="secagg+"),
    "400-clients-10^3-values": Case(400, 39, 14, 1_000, 16, lost=40, protocol="secagg+"),
}
LINES = 25


class Watch:
    """A round with a profiler for the server and one for the first client."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.profiles = {"server": cProfile.Profile(), "client": cProfile.Profile()}
        self._parties = Parties(case)
        self._parties.client(case.names[0])  # enrols everyone, unseen
        self._server = self._of(SERVER, self._parties.server)
        self._clients = {n: self._of(n, self._parties.client, n) for n in case.names}

    def _of(self, who: str, work: Callable[..., Any], *args: Any) -> Any:
        side = {SERVER: "server", self.case.names[0]: "client"}.get(who)
        return self.profiles[side].runcall(work, *args) if side else work(*args)

    def _sent(self, who: str, effects: Iterator[Effect]) -> list[Effect]:
        return list(self._of(who, list, effects))

    def run(self) -> None:
        said = {n: self._sent(n, c.start()) for n, c in self._clients.items()}
        while True:
            for name, effects in said.items():
                for effect in (e for e in effects if isinstance(e, Send)):
                    self._of(SERVER, self._server.receive, name, effect.message)
            asked = self._sent(SERVER, self._server.advance())
            for effect in asked:
                if isinstance(effect, Aborted):
                    raise effect.error
                if isinstance(effect, Done):
                    self._of(SERVER, self._release, effect)
                    return
            said = {e.recipient: self._answer(e) for e in asked if isinstance(e, Send)}

    def _release(self, done: Done) -> None:
        self._parties.pipeline.decode(done.total, clients=len(done.survivors))

    def _answer(self, asked: Send) -> list[Effect]:
        name = asked.recipient
        effects = []
        if self._server.phase == "input":
            if name in self.case.names[self.case.clients - self.case.lost :]:
                return []
            vector = float32_vector(self.case, name)
            integers = self._of(name, self._parties.encode, name, vector)
            effects = self._sent(name, self._clients[name].contribute(integers))
        return effects + self._sent(name, self._clients[name].receive(SERVER, asked.message))


def text_of(profile: cProfile.Profile) -> str:
    """The functions that take longest in themselves, without this machine's paths."""
    out = io.StringIO()
    pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(LINES)
    text = re.sub(r"\S*/(site-packages|fedprivacy|lib/python[\d.]+)/", r"\1/", out.getvalue())
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "results"
    for name, case in SIZES.items():
        Watch(case).run()  # what is made once in a process is not what a round costs
        watch = Watch(case)
        watch.run()
        for side, profile in watch.profiles.items():
            path = folder / f"profile-{side}-{name.replace('^', '')}.txt"
            path.write_text(f"{side}, {name}\n{case.sizes}\n\n{text_of(profile)}", "utf-8")
            sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main()
