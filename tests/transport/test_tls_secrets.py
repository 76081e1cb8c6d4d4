"""Of a whole run over TLS no log, record, journal or store holds a secret, in any form.

Everything that a client draws is recorded as it is drawn; seeds, keys of boxes, shares and vectors
as they come into being. The processes do nothing else than those of a user: it is the tests that
listen.
"""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fedprivacy.cli.join import _tell
from fedprivacy.cli.status import Status
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds.run_folder import RunFolder
from fedprivacy.transport.tls.hub import Hub
from fedprivacy.transport.tls.journal import Journal, Step
from fedprivacy.transport.tls.link import Link
from fedprivacy.transport.tls.participant import Participant
from fedprivacy.transport.tls.run import NetworkedRun
from rounddrive import RUN_ID
from secretscan import (
    RecordingRng,
    Scanner,
    drawn,
    overhear,
    overhear_boxes,
    overhear_vectors,
    vector_secrets,
    vector_texts,
    written,
)
from tls_server import Toy
from tlsdrive import HOST, LIMITS, LINK, Certificates, Raw, Waits, house

PUBLIC = ("/session",)
"""What a client draws for others to see: a session's id."""
CLIENTS, ROUNDS = 4, 1
FIELDS = 6  # of a client in an attempt: two keys, and what seeds, shares and rounding come from


class Run:
    """A server's run and its clients in one process, told of as the command line tells of them."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "anchors").mkdir()
        self.house = house(CLIENTS, folder=folder)
        self.certificates = Certificates(folder / "certs")
        for identity in self.house.identities.values():
            self.certificates.client(identity)
        self.rngs = {name: RecordingRng() for name in self.house.names}
        self.participants = []

    def serve(self, as_json):
        status, folder = Status(as_json), self.folder / f"run-{as_json}"
        folder.mkdir()
        journal = Journal.open(folder)
        run_id = RUN_ID[:-1] + bytes([as_json])
        journal.write(Step("run", run=run_id.hex()))

        def begin(client, session):
            journal.write(Step("session", client=client, session=session.hex()))
            status.tell("connected", f"{client} is connected", client=client)
            return True

        hub = Hub(
            self.certificates.of("server"),
            self.house.directory,
            run_id,
            limits=LIMITS,
            begin=begin,
            note=status.refused,
        )
        run = NetworkedRun(
            self.house.plan,
            Toy(),
            self.house.directory,
            hub,
            journal,
            RunFolder(folder),
            Waits(20.0, 20.0, 2.0),
            ROUNDS,
            InsecureTestRng(as_json),
            status,
        )
        run.recover()
        port = hub.start(HOST, 0)
        threads = [self.join(name, port, status) for name in self.house.names]
        run.gather(CLIENTS, 20.0)
        self.annoy(port)
        record = run.run()
        hub.stop(None)
        for thread in threads:
            thread.join(10.0)
            assert not thread.is_alive()
        for participant in self.participants:
            participant.link.close()
        journal.close()
        return record

    def join(self, name, port, status):
        def noted(error):
            if error is not None:
                status.refused(f"{HOST}:{port}", error)

        link = Link(
            self.certificates.of(name), HOST, port, limits=LINK, rng=self.rngs[name], note=noted
        )
        participant = Participant(
            link,
            self.house.policy,
            self.house.identities[name],
            self.house.stores[name],
            lambda _, name=name: self.house.update(name),
            self.rngs[name],
            lambda said: _tell(status, said),
        )
        self.participants.append(participant)
        link.start()
        thread = threading.Thread(target=participant.run, daemon=True)
        thread.start()
        return thread

    def annoy(self, port):
        """A stranger's bytes: what the server says of them is in its log as well."""
        self.port = port
        with Raw(self, self.certificates.of("c000")) as peer:
            peer.send(b"\xff" * 64)
            peer.closed()


def left_behind(folder, *, but=()):
    """Every file, but those in which a key belongs."""
    return {
        path: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.match("*.key") and path.suffix not in but
    }


def assert_holds_none(scanner, vectors, texts):
    for name, text in texts.items():
        assert text, name
        assert scanner.find(text) == [], name
        data = text if isinstance(text, bytes) else text.encode()
        for vector in vectors:
            assert not [t for t in vector_texts(vector) if t.encode() in data], name


def assert_finds_each(scanner, secrets, kinds):
    """The scanner sees one of every kind, in every form, where it is planted in a log's line."""
    for kind in kinds:
        name = next(name for name in secrets if name.startswith(kind))
        for form, text in written(secrets[name]).items():
            line = b'{"time": 1.0, "event": "phase", "of": "' + text + b'"}\n'
            assert (name, form, line.index(text)) in scanner.find(line), (kind, form)


def test_no_log_and_no_file_holds_a_secret_a_share_or_a_vector(tmp_path, capsys, monkeypatch):
    derived = overhear(monkeypatch)
    overhear_boxes(monkeypatch, derived)
    vectors = overhear_vectors(monkeypatch)
    run = Run(tmp_path)
    records = [run.serve(as_json) for as_json in (False, True)]
    assert [r.outcome for record in records for r in record.rounds] == ["sum"] * 2 * ROUNDS
    out, err = capsys.readouterr()
    assert "keys is over" in err
    assert json.loads(err.splitlines()[-1])
    assert "answered" in err
    assert "malformed" in err

    secrets = {**derived, **vector_secrets(vectors)}
    for name, rng in run.rngs.items():
        mine = drawn(rng, *PUBLIC)
        assert len(mine) == FIELDS * ROUNDS * 2
        secrets |= {f"{name}{purpose}": secret for purpose, secret in mine.items()}
        key = run.house.identities[name].key
        secrets[f"identity {name}"] = key._key.private_bytes_raw()
        pem = run.certificates.of(name).key.read_text("utf-8").splitlines()
        secrets[f"tls-key {name}"] = "".join(pem[1:-1]).encode()[:48]
    # Of each round: every client's own seed and those with three others, here and at the server
    # where they are taken off; shares of four dealers in four hands.
    assert len(derived) > 2 * ROUNDS * CLIENTS * (1 + 3 + 2 * 4)
    scanner = Scanner(secrets)
    texts = {str(p): data for p, data in left_behind(tmp_path).items()}
    assert {Path(p).name for p in texts} >= {"journal.jsonl", "record.json", "c000.db", "ca.crl"}
    texts |= {"stderr": err, "records": "".join(r.to_json() for r in records)}
    assert out == ""
    assert_holds_none(scanner, vectors, texts)
    kinds = ["self_seed", "pairwise_seed", "open_box", "box_key", "recover_secrets", "vector"]
    kinds += ["c001/client/0/round-secrets", "identity", "tls-key"]
    assert_finds_each(scanner, secrets, kinds)
    for text in vector_texts(vectors[0]):
        with pytest.raises(AssertionError):
            assert_holds_none(scanner, vectors, {"planted": f"the update was {text}"})
    run.house.close()


# ---------------------------------------------------------------------- the command line


@pytest.fixture
def deploy(project):
    path = project / "examples/tls-hospitals/deploy.py"
    spec = importlib.util.spec_from_file_location("deploy", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["deploy"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["deploy"]


def started(deploy, consortium, told, name, *words):
    """One party's process, listened to; its stdout and stderr are in a file each."""
    support = Path(__file__).parents[1] / "support"
    script = support / "recorded_party.py"
    with (
        (consortium.folder / f"{name}.log").open("wb") as err,
        (consortium.folder / f"{name}.out").open("wb") as out,
    ):
        process = subprocess.Popen(
            [sys.executable, script, told / f"{name}.json", *words],
            cwd=consortium.folder / name,
            env={
                **consortium._environment(name),
                "PYTHONPATH": os.pathsep.join([str(support), *sys.path]),
            },
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    kept = deploy.Process(name, process, consortium.folder / f"{name}.log")
    consortium.started.append(kept)
    return kept


def secrets_of(parties):
    """What each drew and derived, by its name; of the server, what it derived."""
    secrets = {}
    for name, party in parties.items():
        secrets |= {f"{name} {k}": bytes.fromhex(v) for k, v in party["derived"].items()}
        for purpose, pieces in party["drawn"].items():
            if name == "server" or purpose.startswith(PUBLIC):
                continue
            for i, piece in enumerate(map(bytes.fromhex, pieces)):
                for at in range(0, len(piece) - 31, 32):
                    secrets[f"{name}{purpose} {i} {at}"] = piece[at : at + 32]
    return secrets


def vectors_of(party):
    for kind, shape, data in party["vectors"]:
        yield np.frombuffer(bytes.fromhex(data), kind).reshape(shape)


@pytest.mark.nightly
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_nor_does_any_of_the_processes_of_a_consortium(as_json, deploy, tmp_path):
    """`serve` and eight times `join`, each in a process of its own: all that they leave behind."""
    told = tmp_path / "told"
    told.mkdir()
    consortium = deploy.Consortium(tmp_path / "run")
    consortium.make()
    more = ("--log-json",) if as_json else ()
    try:
        server = started(deploy, consortium, told, "server", "serve", "server.toml", *more)
        server.wait_for(lambda text: "listening" in text, "listening", 120.0)
        names = deploy.HOSPITALS
        joined = [started(deploy, consortium, told, n, "join", "client.toml", *more) for n in names]
        assert server.process.wait(300.0) == 0, server.text
        for each in joined:
            assert each.process.wait(60.0) == 0, each.text
    finally:
        for each in consortium.started:
            if each.process.poll() is None:
                each.process.kill()
            each.process.wait()
    parties = {n: json.loads((told / f"{n}.json").read_text("utf-8")) for n in (*names, "server")}
    secrets = secrets_of(parties)
    vectors = [v for party in parties.values() for v in vectors_of(party)]
    assert any(name.startswith("server recover_secrets") for name in secrets)
    assert len(vectors) >= 2 * 8 * 6
    assert len(secrets) > 8 * 6 * (5 + 8 + 2 * 8)
    secrets |= vector_secrets(vectors)
    for path in (tmp_path / "run").rglob("*.key"):
        text = "".join(path.read_text("utf-8").splitlines()[1:-1])
        secrets[f"key {path}"] = text.encode()[:48]
    texts = left_behind(tmp_path / "run", but=(".toml",))
    logs = [path for path in texts if path.suffix == ".log"]
    assert len(logs) == 9
    scanner = Scanner(secrets)
    found = {str(path): text for path, text in texts.items() if text}
    assert sum(path.endswith(".log") for path in found) == 9
    assert_holds_none(scanner, [v[0] if v.ndim > 1 else v for v in vectors[::8]], found)
    assert_finds_each(scanner, secrets, ["hospital-01/client", "hospital-02 open_box", "vector"])
