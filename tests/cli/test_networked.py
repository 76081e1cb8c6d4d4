"""`fedprivacy serve` and `fedprivacy join`: what each says where it cannot go on, and the demo."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress

import pytest

from fedprivacy.crypto import Directory, Identity, SigningKey
from fedprivacy.randomness import InsecureTestRng
from tlsdrive import HOST, Certificates, Hub, HubLimits, free_port


@pytest.fixture
def example(project, tmp_path):
    """The example's files with a server's certificates and three enrolled hospitals."""
    folder = tmp_path / "example"
    shutil.copytree(project / "examples/tls-hospitals", folder)
    certificates = Certificates(folder / "certs")
    rng, entries = InsecureTestRng(5), []
    for number in (1, 2, 3):
        identity = Identity.new(f"hospital-{number:02d}", rng=rng.child(str(number)))
        identity.save(folder / f"{identity.client_id}.key")
        files = certificates.client(identity)
        files.certificate.rename(folder / files.certificate.name)
        files.key.rename(folder / f"{identity.client_id}.tls.key")
        entries.append((identity.client_id, identity.key.public))
    for name in ("ca.crt", "ca.crl"):
        shutil.copy2(folder / "certs" / name, folder / name)
    directory = Directory.sign(1, entries, SigningKey.from_seed(bytes(32)))
    (folder / "directory.json").write_text(directory.to_json(), "utf-8")
    return folder, certificates, directory


def edit(path, before, after):
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after), "utf-8")


def hub_of(certificates, directory):
    return Hub(
        certificates.of("server"),
        directory,
        bytes(16),
        limits=HubLimits(heartbeat=2.0),
        begin=lambda *_: True,
    )


def under(folder, protocol):
    """The example with the files that are a protocol's own."""
    for path in (folder / protocol).iterdir():
        shutil.copy2(path, folder / path.name)


def test_a_server_waits_for_a_committee_as_well(cli, example):
    folder, _, _ = example
    under(folder, "oneshot")
    edit(folder / "server.toml", "gather = 60 ", "gather = 0.2")
    edit(folder / "server.toml", "8443", "0")
    done = cli("serve", folder / "server.toml")
    assert done.code == 2
    assert "for 8 clients and 4 members of the committee" in done.err


def test_whoever_lacks_a_part_of_the_shared_key_is_told_so(cli, example):
    pytest.importorskip("tenseal")
    folder, _, _ = example
    under(folder, "bfv")
    server, client, policy = (folder / f"{n}.toml" for n in ("server", "client", "policy"))
    done = cli("serve", server)
    assert (done.code, "server.ceremony is missing, and bfv needs" in done.err) == (2, True)
    edit(server, "# ceremony", "ceremony")
    done = cli("serve", server)
    assert (done.code, "study.server.key: No such file" in done.err) == (2, True)
    done = cli("join", client)
    assert (done.code, "study.clients.key: No such file" in done.err) == (2, True)
    cli("keys", "ceremony", "study", "--protocol", "ckks", "--out", folder)
    for done in (cli("serve", server), cli("join", client)):
        assert done.code == 2
        assert "is for ckks, the plan says bfv: take the one of its own ceremony" in done.err
    # The server's part in a client's place.
    edit(policy, "study.clients.key", "study.server.key")
    done = cli("join", client)
    assert (done.code, "is not this part of a key ceremony" in done.err) == (2, True)
    edit(policy, "ceremony", "# ceremony")
    done = cli("join", client)
    assert (done.code, "policy.ceremony is missing, and bfv needs" in done.err) == (2, True)


def test_a_member_that_the_plan_does_not_name_is_turned_away(cli, example):
    folder, certificates, directory = example
    under(folder, "oneshot")
    hub = hub_of(certificates, directory)
    member = folder / "member.toml"
    member.write_text(member.read_text("utf-8").replace("university", "hospital-01"), "utf-8")
    edit(member, "8443", str(hub.start(HOST, 0)))
    done = cli("join", member)
    hub.stop(None)
    assert done.code == 6
    assert done.err.splitlines()[-1].startswith("fedprivacy: unexpected: ")


def test_a_server_that_waits_in_vain_says_for_whom(cli, example):
    folder, _, _ = example
    edit(folder / "server.toml", "gather = 60 ", "gather = 0.2")
    edit(folder / "server.toml", "8443", "0")
    done = cli("serve", folder / "server.toml")
    assert done.code == 2
    assert "0 clients are connected after 0.2 seconds" in done.err
    assert f"listening on {HOST}:" in done.err


def test_events_are_lines_of_json_for_who_wants_them(cli, example):
    folder, _, _ = example
    edit(folder / "server.toml", "gather = 60 ", "gather = 0.2")
    edit(folder / "server.toml", "8443", "0")
    done = cli("serve", folder / "server.toml", "--log-json")
    first = json.loads(done.err.splitlines()[0])
    assert first["event"] == "listening"
    assert re.fullmatch("[0-9a-f]{32}", first["run"])


def test_an_address_that_is_taken(cli, example):
    folder, certificates, directory = example
    hub = hub_of(certificates, directory)
    port = hub.start(HOST, 0)
    edit(folder / "server.toml", "8443", str(port))
    done = cli("serve", folder / "server.toml")
    hub.stop(None)
    assert done.code == 2
    assert f"server.listen = {HOST}:{port} is in use: choose another" in done.err


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        ("server.toml", "gather", "gathr", "server.times.gathr is not a key: did you mean gather?"),
        ("server.toml", "127.0.0.1:8443", "here", "server.listen = here is no host:port"),
        ("server.toml", "directory.json", "nowhere.json", "nowhere.json: No such file"),
        ("server.toml", "server.crt", "nowhere.crt", "nowhere.crt: No such file"),
        ("client.toml", "127.0.0.1:8443", "x:y", "client.server = x:y is no host:port"),
        ("client.toml", "[tls]", '\n[tls]\nrole = "client"', "client.tls.role is not a key"),
        ("client.toml", "job =", "# job =", "client.job is missing: name what is trained"),
        ("client.toml", "job =", 'role = "member"\njob =', "client.job = job.toml has no use with"),
        ("client.toml", "job =", 'role = "chair"\njob =', "client.role = chair is unknown"),
        ("client.toml", "policy.toml", "nowhere.toml", "nowhere.toml: No such file"),
        ("client.toml", "hospital-01.tls.key", "nowhere.key", "nowhere.key: No such file"),
    ],
)
def test_a_file_with_a_mistake_is_named(cli, example, file, before, after, said):
    folder, _, _ = example
    edit(folder / file, before, after)
    done = cli("serve" if file.startswith("server") else "join", folder / file)
    assert done.code == 2
    assert said in done.err


def test_a_key_that_others_may_read(cli, example):
    folder, _, _ = example
    (folder / "hospital-01.tls.key").chmod(0o644)
    done = cli("join", folder / "client.toml")
    assert done.code == 2
    assert "has mode 0644: run chmod 600 on it" in done.err


def test_a_client_that_is_turned_away_says_why(cli, example):
    from cryptography import x509

    folder, certificates, directory = example
    mine = x509.load_pem_x509_certificate((folder / "hospital-01.crt").read_bytes())
    certificates.revoke(mine.serial_number)
    hub = hub_of(certificates, directory)
    edit(folder / "client.toml", "8443", str(hub.start(HOST, 0)))
    done = cli("join", folder / "client.toml")
    hub.stop(None)
    assert done.code == 6
    assert done.err.splitlines()[-1].startswith("fedprivacy: channel-revoked: ")


def test_a_server_on_a_full_disk_ends_with_one_line(example):
    folder, _, _ = example
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20));"
        "from fedprivacy.cli.entry import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program, "serve", str(folder / "server.toml")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("fedprivacy: ")
    assert line.endswith("journal.jsonl: File too large")
    [kept] = folder.glob("**/journal.jsonl")
    assert kept.read_bytes() == b""


def test_a_client_without_a_server_gives_up(cli, example):
    folder, certificates, directory = example
    hub = hub_of(certificates, directory)
    port = hub.start(HOST, 0)
    hub.stop(None)
    edit(folder / "client.toml", "8443", str(port))
    edit(folder / "client.toml", "[tls]", "patience = 0.2\n\n[tls]")
    done = cli("join", folder / "client.toml")
    assert done.code == 6
    assert "channel-cut" in done.err


def test_a_first_signal_lets_the_round_end_and_a_second_ends_at_once(capsys):
    from fedprivacy.cli.status import Status, stopping

    with stopping(Status(as_json=True)) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert json.loads(capsys.readouterr().err)["signal"] == "SIGTERM"


def test_a_signal_amid_a_line_that_waits_for_its_reader_is_no_deadlock():
    program = (
        "from fedprivacy.cli.status import Status, stopping\n"
        "status = Status(as_json=True)\n"
        "with stopping(status) as stop:\n"
        "    status.tell('long', '', filler='x' * 1_000_000)\n"
        "    print(stop.asked)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Unbuffered, Python itself loses the rest of a write that a signal interrupts.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": ""},
    )
    try:
        # A pipe holds less than the line: with a byte of it here, the main thread is within it.
        first = os.read(child.stderr.fileno(), 1)
        child.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        out, err = child.communicate(timeout=60.0)
    finally:
        child.kill()
        child.wait()
    assert (child.returncode, out) == (0, b"1\n")
    assert [json.loads(line)["event"] for line in (first + err).splitlines()] == [
        "long",
        "stopping",
    ]


def test_health_is_one_page_to_read():
    from urllib.error import HTTPError
    from urllib.request import urlopen

    from fedprivacy.transport.tls.health import Health

    port = free_port()
    health = Health(lambda: {"status": "ok", "round": 3})
    health.start(HOST, port)
    try:
        with urlopen(f"http://{HOST}:{port}/healthz", timeout=5.0) as page:
            assert json.loads(page.read()) == {"status": "ok", "round": 3}
        with pytest.raises(HTTPError) as missing:
            urlopen(f"http://{HOST}:{port}/", timeout=5.0)
        assert missing.value.code == 404
        missing.value.close()
    finally:
        health.stop()


def test_health_takes_few_connections_at_a_time(monkeypatch):
    from fedprivacy.transport.tls import health as module

    monkeypatch.setattr(module, "_SECONDS", 600.0)  # nobody is let go for being slow
    port = free_port()
    health = module.Health(lambda: {"status": "ok"})
    health.start(HOST, port)

    def connection():
        return stack.enter_context(socket.create_connection((HOST, port), timeout=60.0))

    def page(taken):
        with suppress(ConnectionError):
            taken.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            with taken.makefile("rb") as answer:
                return answer.read()
        return b""

    try:
        with ExitStack() as stack:
            idle = [connection() for _ in range(16)]
            for _ in range(5):
                assert connection().recv(1) == b""
            # Those that came first have kept their place, and leave it.
            assert page(idle.pop()).endswith(b'{"status":"ok"}')
            until = time.monotonic() + 60.0
            while not page(connection()):
                assert time.monotonic() < until
    finally:
        health.stop()


@pytest.mark.nightly
@pytest.mark.parametrize("protocol", ["secagg", "oneshot", "bfv"])
def test_the_demo_ends_in_its_table_and_nothing_secret_is_logged(project, tmp_path, protocol):
    """Eight hospitals, one of them killed in mid-round, a ninth turned away; a committee."""
    script = project / "examples/tls-hospitals/deploy.py"
    done = subprocess.run(
        [sys.executable, str(script), "--protocol", protocol, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hospital-09, whose certificate is revoked" in done.stderr
    assert "turned away with exit code 6" in done.stderr
    assert "How each round ended" in done.stdout
    record = json.loads((tmp_path / "run/server/run/record.json").read_text("utf-8"))
    assert [r["outcome"] for r in record["rounds"]] == ["sum"] * 6
    last = [r["attempts"][-1] for r in record["rounds"]]
    # Of what a hospital sends once, it may have been there whole.
    lost_from = 2 if protocol == "secagg" else 3
    assert not any("hospital-05" in attempt["survivors"] for attempt in last[lost_from:])
    if protocol == "oneshot":
        assert all("ministry" in attempt["phases"][0]["lost"] for attempt in last[3:])
        assert all(attempt["phases"][0]["committee_bytes_up"] > 0 for attempt in last)
    logs = b"".join(path.read_bytes() for path in (tmp_path / "run").glob("*.log"))
    logs += (tmp_path / "run/server/run/journal.jsonl").read_bytes()
    secrets = [path.read_bytes() for path in (tmp_path / "run").rglob("*.key")]
    assert len(secrets) > 20
    for secret in secrets:
        in_text = secret.startswith(b"-----")
        some = [secret[at : at + 16] for at in range(0, min(160, len(secret) - 15), 16)]
        for part in secret.splitlines()[1:-1] if in_text else some:
            assert part not in logs
