"""After the whole example, its files, its output and its logs hold no secret in any form.

Every secret byte string that a client draws is recorded as it is drawn, and so is every seed and
share that is derived from one; then everything that the run left behind is searched.
"""

import logging
import os
import stat

import pytest

from fedprivacy.shipped import shipped_path
from fedprivacy.simulation.job import Job
from fedprivacy.simulation.run import Simulation
from secretscan import RecordingRng, Scanner, drawn, overhear, written

PUBLIC = ("/run", "/nonce/", "/cohort/", "/ledger")
"""What is drawn for others to see: names, nonces, the salts by which members prove their place."""


class Talker:
    """An observer that writes down everything, as a careless one would."""

    def __init__(self, simulation):
        self.simulation = simulation

    def _say(self, *things):
        for thing in things:
            print(repr(thing), str(thing))  # noqa: T201
            logging.getLogger("careless").info("%r %s", thing, thing)

    def round_started(self, number, of):
        self._say(number, of, self.simulation._members, self.simulation._members.directory)

    def phase_ended(self, number, attempt, meter):
        self._say(meter)

    def round_ended(self, record):
        self._say(record)


@pytest.fixture
def derived(monkeypatch):
    """Every seed of a mask and every share, by name, as they come into being."""
    return overhear(monkeypatch)


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_example_leaves_no_secret_behind(tmp_path, capsys, caplog, derived):
    caplog.set_level(logging.DEBUG)
    job = Job.from_toml(shipped_path("examples/hospitals/job.toml"))
    folder, rng = tmp_path / "run", RecordingRng()
    simulation = Simulation(job, folder, rng=rng)
    try:
        record = simulation.run(Talker(simulation))
    finally:
        simulation.close()
    assert [entry.outcome for entry in record.rounds] == ["sum"] * 10 + ["refused"]

    secrets = {**drawn(rng, *PUBLIC), **derived}
    purposes = {purpose.split("/")[1] for purpose in rng.given}
    assert purposes >= {"authority", "identity", "client", "run", "cohort", "nonce"}
    assert len(drawn(rng, *PUBLIC)) > 20 * (
        1 + 10 * 5
    )  # an identity each; five fields in each round
    assert len(derived) > 20 * 10 * (1 + 15 + 15)
    scanner = Scanner(secrets)

    files = files_below(folder)
    # Two records, the ledger and its signer's public key; a store and an anchor for each client.
    assert len(files) == 4 + 2 * 20
    for path in files:
        if stat.S_IMODE(path.stat().st_mode) == 0o600 and path.suffix == ".pem":
            continue  # the one place where a key belongs
        assert scanner.find(path.read_bytes()) == [], path
    out, err = capsys.readouterr()
    assert "PhaseMeter" in out
    assert scanner.find(out) == []
    assert scanner.find(err) == []
    assert caplog.text
    assert scanner.find(caplog.text) == []
    assert scanner.find(record.to_json()) == []

    # The same search finds each of them, in every form, where it was planted.
    planted = dict(list(secrets.items())[:: len(secrets) // 40])
    for name, secret in planted.items():
        for form, text in written(secret).items():
            path = folder / "clients" / "planted"
            path.write_bytes(os.urandom(1001) + text + os.urandom(77))
            assert (name, form, 1001) in scanner.find(path.read_bytes())


def test_files_of_a_run_are_for_their_owner_alone(tmp_path):
    job = Job.from_toml(shipped_path("examples/hospitals/job.toml"))
    simulation = Simulation(job, tmp_path / "run")
    simulation.close()
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    for path in files_below(tmp_path / "run"):
        if path.name == "operator.pub":
            continue  # for whoever verifies the ledger
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
