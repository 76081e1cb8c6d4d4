"""A key ceremony, and one round under every protocol side by side."""

import json
import stat
import sys

import pytest

from fedprivacy.errors import ConfigurationError
from fedprivacy.secagg import PROTOCOLS, Admission, GroupKey
from fedprivacy.secagg.homomorphic.native import require

pytest.importorskip("tenseal")


def test_a_ceremony_makes_two_files_that_are_their_owners_alone(cli, tmp_path):
    done = cli("keys", "ceremony", "study-7", "--protocol", "bfv", "--out", "ceremony")
    assert (done.code, done.err) == (0, "")
    assert "can decrypt every client's update" in done.out
    files = sorted((tmp_path / "ceremony").iterdir())
    assert [f.name for f in files] == ["study-7.clients.key", "study-7.server.key"]
    assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
    key, part = GroupKey.load(files[0]), Admission.load(files[1])
    assert key.server_part == part
    # Nothing but the admission key is in the server's file.
    assert key.membership not in files[1].read_bytes()
    assert key.context not in files[1].read_bytes()
    for secret in (key.admission, key.membership):
        assert secret.hex() not in done.out


def test_no_key_is_replaced_and_none_is_taken_that_others_can_read(cli, tmp_path):
    again = [cli("keys", "ceremony", "x", "--out", "keys") for _ in range(2)]
    assert [done.code for done in again] == [0, 2]
    assert "exists: move it away" in again[1].err
    path = tmp_path / "keys" / "x.clients.key"
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        GroupKey.load(path)


def test_the_parts_are_not_taken_for_each_other(cli, tmp_path):
    cli("keys", "ceremony", "x", "--out", "keys")
    with pytest.raises(ConfigurationError, match="is not this part of a key ceremony"):
        GroupKey.load(tmp_path / "keys" / "x.server.key")
    with pytest.raises(ConfigurationError, match="is not this part of a key ceremony"):
        Admission.load(tmp_path / "keys" / "x.clients.key")


def test_a_protocol_that_shares_no_key_has_no_ceremony(cli):
    done = cli("keys", "ceremony", "x", "--protocol", "secagg", "--out", "keys")
    assert done.code == 2
    assert "secagg shares no key: choose from bfv, ckks, ckks-8192" in done.err


def test_every_protocol_has_a_row_with_what_it_costs_and_withstands(cli, small):
    done = cli("compare", small / "job.toml", "--json")
    assert done.code == 0
    rows = {row["protocol"]: row for row in json.loads(done.out)["rows"]}
    assert set(rows) == set(PROTOCOLS)
    assert {row["outcome"] for row in rows.values()} == {"sum"}
    assert rows["secagg"]["exchanges"] == 5
    assert rows["oneshot"]["exchanges"] == rows["plain"]["exchanges"] == 1
    assert rows["bfv"]["exchanges"] == 2
    assert rows["secagg"]["own_policy"] == ""
    assert "below your policy's malicious" in rows["bfv"]["own_policy"]
    assert {name for name, row in rows.items() if not row["exact"]} == {"ckks", "ckks-8192"}
    assert {name for name, row in rows.items() if row["noise"] == "none"} == {
        "ckks",
        "ckks-8192",
        "plain",
    }
    assert {name for name, row in rows.items() if row["member_seconds"]} == {"oneshot"}
    assert rows["bfv"]["corrupt"] == 0


def test_without_the_extra_one_line_says_so_and_other_protocols_run(cli, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "tenseal", None)
    two = {name: PROTOCOLS[name] for name in ("plain", "bfv")}
    monkeypatch.setattr("fedprivacy.simulation.comparison.PROTOCOLS", two)
    require.cache_clear()
    try:
        done = cli("keys", "ceremony", "x", "--out", "keys")
        rows = json.loads(cli("compare", small / "job.toml", "--json").out)["rows"]
    finally:
        require.cache_clear()
    assert done.code == 7
    assert "pip install 'fedprivacy[he]'" in done.err
    plain, bfv = rows
    assert plain["outcome"] == "sum"
    assert "pip install 'fedprivacy[he]'" in bfv["outcome"]
