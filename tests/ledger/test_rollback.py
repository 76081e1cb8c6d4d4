import shutil
import sqlite3
import stat

import msgspec
import pytest

from fedprivacy.crypto import SigningKey
from fedprivacy.errors import ConfigurationError, PeerError, PolicyRefused, Reason
from fedprivacy.ledger import ClientStore, SignedHead
from fedprivacy.ledger.anchor import Anchor, default_anchor_path

RUN = b"r" * 16
OPERATOR = SigningKey.from_seed(b"o" * 32)
HEAD = SignedHead.sign(OPERATOR, b"l" * 16, 3, b"h" * 32)


def spend(path, *rounds, anchor=None):
    with ClientStore(path, anchor=anchor) as store:
        for number in rounds:
            store.mark_spent(RUN, number, 1)


def refused_as_rolled_back(call, *arguments, **named):
    with pytest.raises(PolicyRefused) as caught:
        call(*arguments, **named)
    assert caught.value.reason is Reason.STORE_ROLLED_BACK
    assert "\n" not in str(caught.value)
    return str(caught.value)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_can_read_store_and_anchor(path, state):
    with ClientStore(path) as store:
        store.mark_spent(RUN, 1, 1)
        assert mode(path) == 0o600
        with store._file.reading() as connection:  # the journal of an open transaction
            connection.exec_driver_sql("DELETE FROM spent")
            assert [mode(file) for file in path.parent.iterdir()] == [0o600, 0o600]
            connection.rollback()
    (anchor,) = state.iterdir()
    assert mode(anchor) == 0o600
    assert mode(state) == 0o700


@pytest.mark.parametrize("wide", [0o640, 0o604, 0o660, 0o700])
def test_a_store_that_others_could_read_is_refused(path, wide):
    spend(path, 1)
    path.chmod(wide)
    with pytest.raises(ConfigurationError, match=r"^store = .* has mode .* -rw------- .*chmod 600"):
        ClientStore(path)


def test_what_is_no_store_is_refused(path, tmp_path):
    with pytest.raises(ConfigurationError, match=r"^store = .* cannot be created .*folder"):
        ClientStore(tmp_path / "absent" / "store")
    with pytest.raises(ConfigurationError, match=r"^store = .* has mode d"):
        ClientStore(tmp_path)
    path.write_bytes(b"not a database, but longer than a header of one would be" * 20)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"^store = .* used \(file is not a database\)"):
        ClientStore(path)
    path.unlink()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE somebody_elses (x)")
    foreign.close()
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"^store = .* is not of schema .*: name another"):
        ClientStore(path)


def test_a_store_put_back_from_a_copy_is_noticed(path, tmp_path):
    spend(path, 1)
    copy = shutil.copy2(path, tmp_path / "copy")
    spend(path, 2)
    newest = shutil.copy2(path, tmp_path / "newest")
    shutil.copy2(copy, path)
    text = refused_as_rolled_back(ClientStore, path)
    assert text.startswith("store.generation = 1 is below your policy's anchor, 2: bring back")
    refused_as_rolled_back(ClientStore, path)  # and again: looking changes nothing
    shutil.copy2(newest, path)
    spend(path, 3)


def test_a_store_put_back_under_an_open_one_is_noticed_before_a_mark(path, tmp_path):
    with ClientStore(path) as store:
        store.mark_spent(RUN, 1, 1)
        copy = shutil.copy2(path, tmp_path / "copy")
        store.mark_spent(RUN, 2, 1)
        shutil.copy2(copy, path)
        refused_as_rolled_back(store.mark_spent, RUN, 2, 1)


def test_two_histories_of_one_store_are_noticed(path, tmp_path):
    spend(path, 1)
    copy = shutil.copy2(path, tmp_path / "copy")
    anchor = next((tmp_path / "state" / "fedprivacy" / "anchors").iterdir())
    anchored = anchor.read_bytes()
    spend(path, 2)
    ahead = anchor.read_bytes()
    # The copy goes on elsewhere, with the anchor of its time, and comes back as far or farther.
    for rounds in ([3], [3, 4]):
        shutil.copy2(copy, path)
        anchor.write_bytes(anchored)
        spend(path, *rounds)
        anchor.write_bytes(ahead)
        text = refused_as_rolled_back(ClientStore, path)
        assert "of another history" in text


def test_what_is_not_noticed_is_store_and_anchor_put_back_together(path, tmp_path, state):
    # The limit that the documentation states: it must not go unnoticed if it changes.
    spend(path, 1)
    copy = shutil.copy2(path, tmp_path / "copy")
    (anchor,) = state.iterdir()
    anchored = anchor.read_bytes()
    spend(path, 2)
    shutil.copy2(copy, path)
    anchor.write_bytes(anchored)
    spend(path, 2)


def test_a_crash_between_commit_and_anchor_is_accepted(path, monkeypatch):
    spend(path, 1)
    with ClientStore(path) as store, monkeypatch.context() as patch:
        patch.setattr(Anchor, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.mark_spent(RUN, 2, 1)
    with ClientStore(path) as store:
        with pytest.raises(PeerError):
            store.mark_spent(RUN, 2, 1)
        store.mark_spent(RUN, 3, 1)
    spend(path, 4)


def test_a_crash_before_the_first_anchor_is_accepted(path, monkeypatch, state):
    with monkeypatch.context() as patch:
        patch.setattr(Anchor, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ClientStore(path)
    assert not state.exists()
    spend(path, 1)
    assert len(list(state.iterdir())) == 1


def test_a_lost_anchor_is_refused(path, state):
    spend(path, 1)
    (anchor,) = state.iterdir()
    anchor.unlink()
    text = refused_as_rolled_back(ClientStore, path)
    assert f"1 without an anchor is below your policy's anchor, {anchor}" in text


def test_with_an_anchor_of_ones_own_a_store_begun_anew_is_noticed(path, tmp_path):
    anchor = tmp_path / "elsewhere" / "anchor"
    spend(path, 1, anchor=anchor)
    spend(path, 2, anchor=anchor)
    path.unlink()
    assert "of store" in refused_as_rolled_back(ClientStore, path, anchor=anchor)


def test_an_anchor_beside_its_store_is_refused(path, monkeypatch):
    with pytest.raises(ConfigurationError, match=r"^anchor = .* in the store's own folder"):
        ClientStore(path, anchor=path.with_name("anchor"))
    link = path.parent.parent / "link"
    link.symlink_to(path.parent)
    with pytest.raises(ConfigurationError, match=r"^anchor = .* in the store's own folder"):
        ClientStore(path, anchor=link / "anchor")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"schema":"other/1","store":"","generation":0,"head":""}',
        b'{"schema":"fedprivacy/anchor/1","store":"","generation":-1,"head":""}',
        b'{"schema":"fedprivacy/anchor/1","store":"","generation":0,"head":"xy"}',
        b'{"schema":"fedprivacy/anchor/1","store":"","generation":0,"head":"","more":1}',
    ],
)
def test_a_file_that_is_no_anchor_is_refused(path, state, content):
    spend(path, 1)
    (anchor,) = state.iterdir()
    anchor.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^anchor = .* is not an anchor: bring"):
        ClientStore(path)


def test_an_anchor_that_cannot_be_written_or_read_is_refused(path, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigurationError, match=r"^anchor = .* cannot be read"):
        ClientStore(path, anchor=blocked / "anchor")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ConfigurationError, match=r"^anchor = .* cannot be read"):
        ClientStore(path, anchor=folder)
    with pytest.raises(ConfigurationError, match=r"^anchor = .* cannot be written"):
        Anchor("a", 1, b"").save(folder)


def test_what_stands_there_already_does_not_move_the_chain(path, state):
    with ClientStore(path) as store:
        (anchor,) = state.iterdir()
        seen = []
        for call in (
            lambda: store.pin_authority(b"a"),
            lambda: store.observe_directory(1, b"d"),
            lambda: store.keep_head(HEAD, operator=OPERATOR.public),
            lambda: store.mark_spent(RUN, 1, 1),
        ):
            call()
            seen.append(msgspec.json.decode(anchor.read_bytes())["generation"])
        store.pin_authority(b"a")
        store.observe_directory(1, b"d")
        store.keep_head(HEAD, operator=OPERATOR.public)
        with pytest.raises(PeerError):
            store.mark_spent(RUN, 1, 1)
        seen.append(msgspec.json.decode(anchor.read_bytes())["generation"])
    assert seen == [1, 2, 3, 4, 4]


def test_a_replacement_left_over_by_a_crash_is_no_hindrance(path, state):
    spend(path, 1)
    (anchor,) = state.iterdir()
    anchor.with_name(f".{anchor.name}.new").write_bytes(b"half of an an")
    spend(path, 2)
    assert [file.name for file in state.iterdir()] == [anchor.name]


def test_where_anchors_go_by_default(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_anchor_path("x") == tmp_path / "fedprivacy" / "anchors" / "x"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_STATE_HOME", ignored)
        state = tmp_path / "home" / ".local" / "state"
        assert default_anchor_path("x") == state / "fedprivacy" / "anchors" / "x"


def test_in_memory_nothing_is_written(state):
    with ClientStore(":memory:") as store:
        store.mark_spent(RUN, 1, 1)
    assert not state.exists()
