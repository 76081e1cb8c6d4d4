"""Eight hospitals and a server as processes on this machine, over mutual TLS 1.3.

`make tls-demo`, or `python examples/tls-hospitals/deploy.py [FOLDER]`: about a minute. One hospital
is killed in the middle of a round, and a ninth, whose certificate is revoked, is turned away.
"""

from __future__ import annotations

import os
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
VICTIM, KILLED_IN = "hospital-05", 3
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
    port: int = 0
    started: list[Process] = field(default_factory=list)

    def make(self) -> None:
        """The key ceremony, as docs/consortium.md tells it: each command is one party's."""
        everyone = (*HOSPITALS, REVOKED)
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
            store = ("--store", self.folder / name / "client.db")
            self._run("pin", authority / "consortium.pub", *store, home=name)

    def _hand_out(self, authority: Path, server: Path) -> None:
        """What leaves the authority: nothing secret but the server's own key."""
        self.port = _free_port()
        (server / "certs").mkdir(parents=True, mode=0o700)
        for name in ("ca.crt", "ca.crl", "server.crt", "server.key"):
            shutil.copy2(authority / "certs" / name, server / "certs" / name)
        shutil.copy2(authority / "directory.json", server / "directory.json")
        for name in ("job.toml", "privacy.toml", "policy.toml"):
            shutil.copy2(HERE / name, server / name)
        _filled(HERE / "server.toml", server / "server.toml", {"8443": str(self.port)})
        for name in (*HOSPITALS, REVOKED):
            own = self.folder / name
            for shared in ("ca.crt", "ca.crl"):
                shutil.copy2(authority / "certs" / shared, own / shared)
            shutil.copy2(authority / "issued" / f"{name}.crt", own / f"{name}.crt")
            for shared in ("job.toml", "privacy.toml", "policy.toml"):
                shutil.copy2(HERE / shared, own / shared)
            places = {"8443": str(self.port), "hospital-01": name}
            _filled(HERE / "client.toml", own / "client.toml", places)

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
    with socket.create_server((HOST, 0)) as held:
        return int(held.getsockname()[1])


def demo(folder: Path) -> int:
    """The whole of it; returns the server's exit code."""
    started = time.monotonic()

    def note(what: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {what}", file=sys.stderr, flush=True)

    consortium = Consortium(folder)
    note("making keys, a signed directory and certificates, as docs/consortium.md tells it")
    consortium.make()
    try:
        server = consortium.start("server", "serve", "server.toml")
        server.wait_for(lambda text: "listening on" in text, "listening", 30.0)
        note(f"the server is up; {REVOKED}, whose certificate is revoked, tries to join")
        ninth = consortium.start(REVOKED, "join", "client.toml")
        code = ninth.process.wait(60.0)
        note(f"it is turned away with exit code {code}: {ninth.text.strip().splitlines()[-1]}")
        joined = {name: consortium.start(name, "join", "client.toml") for name in HOSPITALS}
        moment = f"round {KILLED_IN}, attempt 1: trained"
        joined[VICTIM].wait_for(lambda text: moment in text, moment, SECONDS)
        joined[VICTIM].process.kill()
        note(f"{VICTIM} is killed in round {KILLED_IN}, after it trained")
        out, _ = server.process.communicate(timeout=SECONDS)
        note(f"the server has ended with exit code {server.process.returncode}")
        for name, process in joined.items():
            if name != VICTIM and process.process.wait(30.0):
                note(f"{name} ended with exit code {process.process.returncode}")
        sys.stdout.write(out.decode())
        return 1 if code != 6 else server.process.returncode
    finally:
        consortium.end()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(demo(Path(sys.argv[1]).absolute()))
    with tempfile.TemporaryDirectory(prefix="fedprivacy-tls-") as temporary:
        sys.exit(demo(Path(temporary)))
