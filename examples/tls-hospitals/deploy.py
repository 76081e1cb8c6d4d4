"""Eight hospitals and a server as processes on this machine, over mutual TLS 1.3.

`make tls-demo`, or `python examples/tls-hospitals/deploy.py [--protocol NAME] [FOLDER]`: about a
minute. One hospital is killed in the middle of a round, and a ninth, whose certificate is revoked,
is turned away. Under `oneshot` there is a committee of four more processes, one of them killed in
that round as well; under `bfv` the hospitals share a key.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
HOST = "127.0.0.1"
HOSPITALS = tuple(f"hospital-{number:02d}" for number in range(1, 9))
REVOKED = "hospital-09"
COMMITTEES = {"oneshot": ("university", "registry", "ministry", "patients")}
SHARING_A_KEY = ("bfv",)
VICTIM, LOST_MEMBER, KILLED_IN = "hospital-05", "ministry", 3
SECONDS = 240.0  # for all of it


@dataclass(slots=True)
class Process:
    """One party, with its log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, holds: Callable[[str], bool], what: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not holds(self.text):
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{self.name} ended before {what}:\n{self.text[-2000:]}")
            time.sleep(0.01)


@dataclass(slots=True)
class Consortium:
    """Everyone's files in one folder, a folder a party; and the processes that were started."""

    folder: Path
    protocol: str = "secagg"
    port: int = 0
    started: list[Process] = field(default_factory=list)

    @property
    def members(self) -> tuple[str, ...]:
        """Of the committee, where the protocol has one."""
        return COMMITTEES.get(self.protocol, ())

    def make(self) -> None:
        """The key ceremony, as docs/consortium.md tells it: each command is one party's."""
        everyone = (*HOSPITALS, REVOKED, *self.members)
        authority, server = self.folder / "authority", self.folder / "server"
        self._run("keys", "authority", "consortium", "--out", authority)
        for name in everyone:
            self._run("keys", "new", name, "--out", self.folder / name)
        asked = [self.folder / name / f"{name}.enrolment.json" for name in everyone]
        self._run("keys", "enroll", *asked, "--into", authority / "draft.json")
        directory = authority / "directory.json"
        signed = ("--authority", authority / "consortium.key", "--epoch", 1, "--out", directory)
        self._run("directory", "sign", authority / "draft.json", *signed)
        certs = authority / "certs"
        self._run("certs", "new", certs, "--host", HOST)
        for name in everyone:
            own = self.folder / name
            self._run("certs", "request", own / f"{name}.key", "--out", own)
        requests = [self.folder / name / f"{name}.request.json" for name in everyone]
        issued = ("--ca", certs, "--directory", directory, "--out", authority / "issued")
        self._run("certs", "issue", *requests, *issued)
        self._run("certs", "revoke", certs, REVOKED)
        self._hand_out(authority, server)
        for name in everyone:
            store = "member.db" if name in self.members else "client.db"
            into = ("--store", self.folder / name / store)
            self._run("pin", authority / "consortium.pub", *into, home=name)
        if self.protocol in SHARING_A_KEY:
            self._share_a_key(server)

    def _hand_out(self, authority: Path, server: Path) -> None:
        """What leaves the authority: nothing secret but the server's own key."""
        self.port = _free_port()
        (server / "certs").mkdir(parents=True, mode=0o700)
        for name in ("ca.crt", "ca.crl", "server.crt", "server.key"):
            shutil.copy2(authority / "certs" / name, server / "certs" / name)
        shutil.copy2(authority / "directory.json", server / "directory.json")
        for name in ("job.toml", "privacy.toml", "policy.toml"):
            shutil.copy2(self._agreed(name), server / name)
        places = {"8443": str(self.port)}
        if self.protocol in SHARING_A_KEY:
            places["# ceremony"] = "ceremony"
        _filled(HERE / "server.toml", server / "server.toml", places)
        for name in (*HOSPITALS, REVOKED, *self.members):
            own = self.folder / name
            for shared in ("ca.crt", "ca.crl"):
                shutil.copy2(authority / "certs" / shared, own / shared)
            shutil.copy2(authority / "issued" / f"{name}.crt", own / f"{name}.crt")
            shutil.copy2(self._agreed("policy.toml"), own / "policy.toml")
            places = {"8443": str(self.port), "hospital-01": name, "university": name}
            if name in self.members:
                _filled(self._agreed("member.toml"), own / "member.toml", places)
                continue
            for shared in ("job.toml", "privacy.toml"):
                shutil.copy2(self._agreed(shared), own / shared)
            _filled(HERE / "client.toml", own / "client.toml", places)

    def _agreed(self, name: str) -> Path:
        """A file of the example: the protocol's own, where it has one."""
        own = HERE / self.protocol / name
        return own if own.exists() else HERE / name

    def _share_a_key(self, server: Path) -> None:
        """The first hospital makes the key that all hospitals share; the server never has it."""
        first = self.folder / HOSPITALS[0]
        made = ("--protocol", self.protocol, "--out", first)
        self._run("keys", "ceremony", "study", *made, home=HOSPITALS[0])
        for name in (*HOSPITALS[1:], REVOKED):
            shutil.copy2(first / "study.clients.key", self.folder / name / "study.clients.key")
        shutil.move(first / "study.server.key", server / "study.server.key")

    def start(self, name: str, *words: object) -> Process:
        """One party, in its folder."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [BIN / "fedprivacy", *map(str, words)],
                cwd=self.folder / name,
                env=self._environment(name),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if name == "server" else subprocess.DEVNULL,
                stderr=out,
            )
        started = Process(name, process, log)
        self.started.append(started)
        return started

    def end(self) -> None:
        """End every process that was started here, by its id."""
        for each in self.started:
            if each.process.poll() is None:
                each.process.send_signal(signal.SIGTERM)
        for each in self.started:
            try:
                each.process.wait(10.0)
            except subprocess.TimeoutExpired:
                each.process.kill()
                each.process.wait()
            if each.process.stdout is not None:
                each.process.stdout.close()

    def _run(self, *words: object, home: str = "authority") -> None:
        command = [str(BIN / "fedprivacy"), *map(str, words)]
        done = subprocess.run(
            command, env=self._environment(home), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")

    def _environment(self, name: str) -> dict[str, str]:
        """A hospital's anchor lies apart from its store, as on a machine of its own."""
        return {**os.environ, "XDG_STATE_HOME": str(self.folder / f"{name}-state")}


def _filled(template: Path, path: Path, places: dict[str, str]) -> None:
    text = template.read_text(encoding="utf-8")
    for before, after in places.items():
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")


def _free_port() -> int:
    # Of those that the system gives to no connection of its own: it is listened on in a while only.
    for port in random.sample(range(12_000, 30_000), 1000):
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):
            return port
    raise SystemExit("no port is free")


def kill(victim: Process | None, after: str, note: Callable[[str], None]) -> None:
    """Kill a party in the middle of a round, where there is one, once it has said so much."""
    if victim is None:
        return
    moment = f"round {KILLED_IN}, attempt 1: {after}"
    victim.wait_for(lambda text: moment in text, moment, SECONDS)
    victim.process.kill()
    note(f'{victim.name} is killed in round {KILLED_IN}, once it says "{after}"')


def demo(folder: Path, protocol: str) -> int:
    """The whole of it; returns the server's exit code."""
    started = time.monotonic()

    def note(what: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {what}", file=sys.stderr, flush=True)

    consortium = Consortium(folder, protocol)
    note("making keys, a signed directory and certificates, as docs/consortium.md tells it")
    consortium.make()
    try:
        server = consortium.start("server", "serve", "server.toml")
        server.wait_for(lambda text: "listening on" in text, "listening", 30.0)
        note(f"the server is up; {REVOKED}, whose certificate is revoked, tries to join")
        ninth = consortium.start(REVOKED, "join", "client.toml")
        code = ninth.process.wait(60.0)
        note(f"it is turned away with exit code {code}: {ninth.text.strip().splitlines()[-1]}")
        members = {
            name: consortium.start(name, "join", "member.toml") for name in consortium.members
        }
        joined = {name: consortium.start(name, "join", "client.toml") for name in HOSPITALS}
        kill(members.get(LOST_MEMBER), "summoned", note)
        kill(joined[VICTIM], "invited" if members else "trained", note)
        out, _ = server.process.communicate(timeout=SECONDS)
        note(f"the server has ended with exit code {server.process.returncode}")
        for name, process in (joined | members).items():
            if name not in (VICTIM, LOST_MEMBER) and process.process.wait(30.0):
                note(f"{name} ended with exit code {process.process.returncode}")
        sys.stdout.write(out.decode())
        return 1 if code != 6 else server.process.returncode
    finally:
        consortium.end()


def main() -> int:
    parser = argparse.ArgumentParser(description="A server and eight hospitals, over mutual TLS.")
    parser.add_argument("folder", nargs="?", type=Path, help="by default one that is removed")
    known = ["secagg", *COMMITTEES, *SHARING_A_KEY]
    parser.add_argument("--protocol", default="secagg", choices=known)
    asked = parser.parse_args()
    if asked.folder is not None:
        return demo(asked.folder.absolute(), asked.protocol)
    with tempfile.TemporaryDirectory(prefix="fedprivacy-tls-") as temporary:
        return demo(Path(temporary), asked.protocol)


if __name__ == "__main__":
    sys.exit(main())
