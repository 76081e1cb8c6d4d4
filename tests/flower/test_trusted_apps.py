"""Whose apps a node runs, and what is therefore said of the server."""

import logging

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.serverapp.strategy import FedAvg

from fedprivacy.cli import main
from fedprivacy.errors import ConfigurationError
from fedprivacy.flower import PrivateStrategy
from fedprivacy.flower.entities import examine_entities
from fedprivacy.flower.node_files import NodeFiles
from fedprivacy.randomness import SystemRng
from fedprivacy.rounds import Guarantee, Plan
from flower_loop import NOISY, PLAN, model

LIES = "a server that may lie"


def told(house, folder, caplog, **options):
    """All that log and record say of one run."""
    home = house()
    nodes = {"min_train_nodes": 4, "min_available_nodes": 4, "fraction_evaluate": 0.0}
    strategy = PrivateStrategy(
        FedAvg(**nodes), plan=home.plan, directory=home.directory, folder=folder, **options
    )
    with caplog.at_level(logging.INFO, "flwr"):
        strategy.start(home.grid, model(), num_rounds=1)
    return caplog.text, (folder / "record.json").read_text()


def test_without_trusted_apps_nothing_is_said_of_a_server_that_lies(house, tmp_path, caplog):
    log, record = told(house, tmp_path / "run", caplog)
    assert LIES not in log + record
    assert '"adversary": "honest-but-curious"' in record.partition('"guarantee"')[2]
    for text in (log, record):
        assert "Nothing holds against a server that sends another app" in text
        assert "--trusted-entities" in text


def test_with_trusted_apps_the_plans_adversary_is_named(house, tmp_path, caplog):
    log, record = told(house, tmp_path / "run", caplog, trusted_apps=True)
    assert LIES in log
    assert LIES in record
    assert "another app" not in log + record


@pytest.mark.parametrize("text", [PLAN, NOISY])
def test_figures_are_those_of_the_plan(text):
    plan = Plan.parse(text)
    bound, loose = (Guarantee.of(plan, 4, 10, runs_any_app=any_app) for any_app in (False, True))
    assert (bound.honest_in_sum, bound.losses) == (loose.honest_in_sum, loose.losses)
    assert bound.privacy == loose.privacy


def public(key):
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def doctor(folder, capsys, *words):
    with pytest.raises(SystemExit) as left:
        main(["flower", "doctor", str(folder), *map(str, words)])
    out = capsys.readouterr()
    return left.value.code, out.out + out.err


def test_the_doctor_says_whose_apps_a_node_runs(nodes_folder, capsys, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(nodes_folder / "state"))
    files = NodeFiles.make(nodes_folder / "nodes", 2, Plan.parse(PLAN), rng=SystemRng())
    code, said = doctor(files.node(0), capsys)
    assert code == 0
    assert "apps          whatever is submitted" in said
    trusted = nodes_folder / "trusted.yaml"
    trusted.write_text(f"fpk_consortium: {public(Ed25519PrivateKey.generate())} us\n")
    code, said = doctor(files.node(0), capsys, "--trusted-entities", trusted)
    assert code == 0
    assert "apps          only those that fpk_consortium signed" in said


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "names nobody"),
        ("{}", "names nobody"),
        ("- a", "names nobody"),
        ("a: [", "cannot be read as YAML"),
        ("fpk_a: 7", "no ssh-ed25519 public key"),
        (f"fpk_a: {public(generate_private_key(SECP384R1()))}", "no ssh-ed25519 public key"),
    ],
)
def test_a_file_that_restricts_nothing_is_an_error(tmp_path, text, wrong):
    path = tmp_path / "trusted.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=wrong):
        examine_entities(path)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigurationError, match=r"trusted\.yaml cannot be read"):
        examine_entities(tmp_path / "trusted.yaml")
