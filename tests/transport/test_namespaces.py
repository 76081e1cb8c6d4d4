"""The hospitals' example across four network namespaces: addresses, links and queues of their own.

One holds the server and the bridge; the hospitals are spread over three others, each at the end of
a pair of virtual cables. Where the kernel can, the cables delay and lose packets.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

NET = "10.203.77"
SERVER = f"{NET}.1"
PORT = 8443
DELAYS = ("delay", "40ms", "10ms", "loss", "2%")


def ran(*words):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)


def make(*words):
    done = ran(*words)
    if done.returncode:
        pytest.skip(f"`{' '.join(map(str, words))}` says: {done.stderr.strip()}")


@dataclass
class Namespaces:
    """Four of them, named after this process; whatever was made is gone at the end."""

    names: list = field(default_factory=list)

    def make(self):
        if shutil.which("ip") is None:
            pytest.skip("needs `ip`: install iproute2")
        if os.geteuid() != 0:
            pytest.skip("needs the privilege to make network namespaces: run as root")
        for number in range(4):
            name = f"fedprivacy-{os.getpid()}-{number}"
            make("ip", "netns", "add", name)
            self.names.append(name)
            make("ip", "-n", name, "link", "set", "lo", "up")
        server = self.names[0]
        make("ip", "-n", server, "link", "add", "br0", "type", "bridge")
        make("ip", "-n", server, "addr", "add", f"{SERVER}/24", "dev", "br0")
        make("ip", "-n", server, "link", "set", "br0", "up")
        for number, name in enumerate(self.names[1:], 2):
            cable = ("link", "add", f"cable{number}", "type", "veth", "peer", "name", "eth0")
            make("ip", "-n", server, *cable, "netns", name)
            make("ip", "-n", server, "link", "set", f"cable{number}", "master", "br0", "up")
            make("ip", "-n", name, "addr", "add", f"{NET}.{number}/24", "dev", "eth0")
            make("ip", "-n", name, "link", "set", "eth0", "up")

    def delay(self):
        """Packets are late and lost on the cables, either way."""
        if shutil.which("tc") is None:
            pytest.skip("needs `tc`: install iproute2")
        ends = [(name, "eth0") for name in self.names[1:]]
        ends += [(self.names[0], f"cable{number}") for number in (2, 3, 4)]
        for name, device in ends:
            words = ("qdisc", "add", "dev", device, "root", "netem", *DELAYS)
            make("ip", "netns", "exec", name, "tc", *words)

    def remove(self):
        for name in self.names:
            assert ran("ip", "netns", "del", name).returncode == 0


@pytest.fixture
def namespaces():
    made = Namespaces()
    try:
        made.make()
        yield made
    finally:
        made.remove()


@pytest.fixture
def deploy(project, monkeypatch):
    """The example's own script, for one address that all namespaces reach."""
    path = project / "examples/tls-hospitals/deploy.py"
    spec = importlib.util.spec_from_file_location("deploy", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "deploy", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HOST", SERVER)
    monkeypatch.setattr(module, "_free_port", lambda: PORT)
    return module


def started(deploy, consortium, namespace, name, *words):
    """One party in its namespace."""
    with (consortium.folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, deploy.BIN / "fedprivacy", *words],
            cwd=consortium.folder / name,
            env=consortium._environment(name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    party = deploy.Process(name, process, consortium.folder / f"{name}.log")
    consortium.started.append(party)
    return party


def play(deploy, namespaces, folder):
    consortium = deploy.Consortium(folder)
    consortium.make()
    for path in folder.rglob("*.toml"):
        text = path.read_text("utf-8")
        path.write_text(text.replace("127.0.0.1", SERVER), "utf-8")
    at_server, *elsewhere = namespaces.names
    try:
        server = started(deploy, consortium, at_server, "server", "serve", "server.toml")
        server.wait_for(lambda text: "listening on" in text, "listening", 120.0)
        joined = [
            started(deploy, consortium, elsewhere[i % 3], name, "join", "client.toml")
            for i, name in enumerate(deploy.HOSPITALS)
        ]
        assert server.process.wait(500.0) == 0, server.text
        for hospital in joined:
            assert hospital.process.wait(60.0) == 0, hospital.text
    finally:
        for party in consortium.started:
            with contextlib.suppress(ProcessLookupError):
                party.process.kill()
            party.process.wait()
    record = json.loads((folder / "server/run/record.json").read_text("utf-8"))
    assert [r["outcome"] for r in record["rounds"]] == ["sum"] * 6
    for r in record["rounds"]:
        assert len(r["attempts"][-1]["survivors"]) >= 5
    return server.text


@pytest.mark.nightly
def test_hospitals_in_namespaces_of_their_own_train_together(deploy, namespaces, tmp_path):
    play(deploy, namespaces, tmp_path / "run")


@pytest.mark.nightly
def test_so_they_do_where_packets_are_late_and_lost(deploy, namespaces, tmp_path):
    namespaces.delay()
    play(deploy, namespaces, tmp_path / "run")
