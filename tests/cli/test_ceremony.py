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
    # What a protocol cannot do stands beside what it did.
    unable = {name: " ".join(row["cannot"]) for name, row in rows.items()}
    assert unable["secagg"] == unable["oneshot"] == ""
    assert "malicious is more than secagg+ withstands" in unable["secagg+"]
    assert "set corrupt = 0" in unable["bfv"]
    assert "noise.trust = distributed with protocol = ckks" in unable["ckks"]
    assert rows["plain"]["adversary"] == "none"
    assert {row["policy"] for row in rows.values()} == {f"{name}.toml" for name in PROTOCOLS}
    # What was kept is printed again, without a run.
    (small / "kept.json").write_text(done.out, "utf-8")
    again = cli("compare", small / "kept.json")
    assert again.code == 0
    assert "oneshot: 7 of 10 members, one sum" in again.out
    assert cli("compare", small / "kept.json", "--json").out == done.out


def test_a_policy_that_refuses_its_protocol_and_one_that_is_missing_are_rows(
    cli, small, monkeypatch
):
    two = {name: PROTOCOLS[name] for name in ("plain", "secagg")}
    monkeypatch.setattr("fedprivacy.simulation.comparison.PROTOCOLS", two)
    path = small / "policies" / "plain.toml"
    path.write_text(path.read_text("utf-8").replace("min_clients = 10", "min_clients = 11"))
    (small / "policies" / "secagg.toml").unlink()
    done = cli("compare", small / "job.toml", "--json")
    plain, secagg = json.loads(done.out)["rows"]
    assert "min_clients = 10 is below your policy's 11" in plain["outcome"]
    assert "secagg.toml" in secagg["outcome"]
    assert (done.code, plain["clients"], secagg["clients"]) == (0, 0, 0)


def test_what_is_no_comparison_is_refused(cli, small):
    (small / "other.json").write_text("{}", "utf-8")
    done = cli("compare", small / "other.json")
    assert done.code == 2
    assert "make it with --json" in done.err


@pytest.mark.parametrize("protocol", ["bfv", "ckks"])
def test_a_plan_says_whose_generator_draws_its_keys(cli, small, protocol):
    path = small / "privacy.toml"
    text = path.read_text("utf-8").replace('"secagg"', f'"{protocol}"')
    text = text.replace('"malicious"', '"honest-but-curious"').replace("corrupt = 2", "corrupt = 0")
    path.write_text(text.partition("[noise]")[0], "utf-8")
    done = cli("plan", path, "--clients", "20")
    told = " ".join(done.out.split())
    assert done.code == 0
    assert "Keys and errors are drawn by the library (TenSEAL, SEAL)" in told
    assert "The clients share the secret key" in told


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
