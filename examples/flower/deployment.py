"""A Flower deployment on this machine: a SuperLink with TLS, authenticated SuperNodes, an app.

All keys are on one machine here, and the SuperNodes run whatever app is submitted: it shows how the
parts fit together and what happens when one is lost, and protects nobody.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Deployment", "Process"]

BIN = Path(sys.executable).parent
HOST, CONNECTION = "127.0.0.1", "deployment"
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.05",
}
STARTS = 60.0  # seconds within which a server or a node is there
ENDS = 3.0  # seconds that all of them have to end by themselves
_SENT = re.compile("Sent successfully")


@dataclass(slots=True)
class Process:
    """A process with a group of its own, in which all that it starts stays, and its log."""

    name: str
    log: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(
        cls, name: str, words: list[str | Path], folder: Path, environment: Mapping[str, str]
    ) -> Self:
        log = folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                words,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(name, log, process)

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def sent(self) -> int:
        """The replies that a SuperNode has sent."""
        return len(_SENT.findall(self.text))

    def wait_for(self, happened: Callable[[], bool], what: str, seconds: float) -> None:
        """Return when it has; raises `RuntimeError`, with the log, when it has not in time."""
        deadline = time.monotonic() + seconds
        while not happened():
            if not self.is_running or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: {what} did not happen\n{self.text}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End the process and all that it started, as a power cut would."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def ask_to_end(self) -> None:
        self._signal(signal.SIGTERM)

    def end(self, seconds: float) -> None:
        """See that it ends, and all that it started."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        self.kill()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@dataclass(slots=True)
class Deployment:
    """What runs: entered, everything is up; left, everything that it started has ended.

    `folder` receives keys, certificates, logs and the homes of all; `plan` is the file from which
    the nodes' policies are made. `trusted_entities` is the file of those whose apps SuperNodes run;
    without it they run any.
    """

    folder: Path
    nodes: int
    plan: Path
    trusted_entities: Path | None = None
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    supernodes: list[Process] = field(default_factory=list)
    _started: list[Process] = field(default_factory=list)
    _port: int = 0

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def certs(self) -> Path:
        return self.folder / "certs"

    def __enter__(self) -> Self:
        try:
            self._bring_up()
        except BaseException:
            self._tear_down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._tear_down()

    def run(self, app: Path | str, config: str) -> Process:
        """Submit a run of the app in a folder, or of one of Flower Hub's by its name.

        The process ends with the run, and its log is the run's.
        """
        words = ["flwr", "run", str(app), CONNECTION, "--stream", "-c", config]
        return self._start(f"run-{len(self._started)}", words, self._home("user"))

    def _bring_up(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._made("fedprivacy", "certs", "new", self.certs, "--host", HOST, "--nodes", self.nodes)
        self._port, *ports = _free_ports(1 + self.nodes)
        superlink = self._start("superlink", self._superlink(), self._home("superlink"))
        flower = ("fedprivacy", "flower", "keys", self.keys)
        self._made(*flower, "--nodes", self.nodes, "--plan", self.plan)
        superlink.wait_for(lambda: _listens(self._port), "listening", STARTS)
        user = self._home("user")
        (user / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
            f'address = "{HOST}:{self._port}"\nroot-certificates = "{self.certs}/ca.crt"\n',
            encoding="utf-8",
        )
        with ThreadPoolExecutor() as pool:  # most of it is Flower starting
            list(pool.map(self._register, range(self.nodes)))
        for number, port in enumerate(ports):
            name = f"supernode-{number}"
            self.supernodes.append(
                self._start(name, self._supernode(number, port), self._home(name))
            )
        for node in self.supernodes:
            node.wait_for(lambda n=node: "SuperNode ID:" in n.text, "connecting", STARTS)

    def _register(self, number: int) -> None:
        public, user = self.certs / "nodes" / f"{number}.pub", self._home("user")
        self._made("flwr", "supernode", "register", public, CONNECTION, home=user)

    def _tear_down(self) -> None:
        for process in self._started:
            process.ask_to_end()
        until = time.monotonic() + ENDS
        for process in self._started:
            process.end(until - time.monotonic())

    def _superlink(self) -> list[str | Path]:
        words = ["flower-superlink", "--enable-supernode-auth"]
        words += ["--disable-runtime-dependency-installation"]
        return [*words, "--host", HOST, "--port", str(self._port), *self._tls()]

    def _supernode(self, number: int, port: int) -> list[str | Path]:
        own = (
            f'fedprivacy-client="{self.keys.absolute()}/nodes/{number}" '
            f"partition-id={number} num-partitions={self.nodes}"
        )
        restricted: list[str | Path] = []
        if self.trusted_entities is not None:
            restricted = ["--trusted-entities", self.trusted_entities]
        return [
            "flower-supernode",
            *restricted,
            *("--superlink", f"{HOST}:{self._port}"),
            *("--root-certificates", self.certs / "ca.crt"),
            *("--auth-supernode-private-key", self.certs / "nodes" / f"{number}.key"),
            *("--node-config", own),
            *("--host", HOST, "--port", str(port)),
            *self._tls(),
        ]

    def _tls(self) -> list[str | Path]:
        ca, server, key = (self.certs / name for name in ("ca.crt", "server.crt", "server.key"))
        return ["--ssl-ca-certfile", ca, "--ssl-certfile", server, "--ssl-keyfile", key]

    def _home(self, name: str) -> Path:
        home = self.folder / name
        home.mkdir(mode=0o700, exist_ok=True)
        return home

    def _start(self, name: str, words: list[str | Path], home: Path) -> Process:
        words = [BIN / words[0], *words[1:]]
        process = Process.start(name, words, self.folder, self._environment(home))
        self._started.append(process)
        return process

    def _made(self, *words: object, home: Path | None = None) -> None:
        command = [str(BIN / str(words[0])), *map(str, words[1:])]
        done = subprocess.run(
            command,
            env=self._environment(home or self.folder),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")

    def _environment(self, home: Path) -> dict[str, str]:
        path = os.pathsep.join([str(BIN), self.environment.get("PATH", "")])
        return {**self.environment, **QUIET, "PATH": path, "FLWR_HOME": str(home)}


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0
