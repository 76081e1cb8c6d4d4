import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprivacy.crypto import MAX_ENTRIES, Directory, SigningKey, has_small_order
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.wire import digest, encode

AUTHORITY = SigningKey.from_seed(b"a" * 32)
OTHER = SigningKey.from_seed(b"o" * 32)
ENTRIES = [(f"hospital-{i:02}", bytes([i]) * 32) for i in range(1, 6)]
HONEST = Directory.sign(3, ENTRIES, AUTHORITY)

client_ids = st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")
keys = st.binary(min_size=32, max_size=32).filter(lambda key: not has_small_order(key))
members = st.dictionaries(client_ids, keys, max_size=8).filter(
    lambda m: len(set(m.values())) == len(m)
)


@given(st.integers(1, 2**63 - 1), members)
def test_a_directory_round_trips(epoch, entries):
    directory = Directory.sign(epoch, entries.items(), AUTHORITY)
    directory.verify(AUTHORITY.public)
    assert dict(directory.entries) == entries
    assert list(directory.entries) == sorted(entries.items())
    assert Directory.decode(encode(directory)) == directory
    assert Directory.from_json(directory.to_json()) == directory
    for client_id, key in entries.items():
        assert directory.key_of(client_id) == key


@pytest.mark.parametrize("absent", ["", "a", "hospital-00", "hospital-03x", "hospital-06", "z"])
def test_who_is_not_enrolled_has_no_key(absent):
    assert HONEST.key_of(absent) is None
    assert Directory.sign(1, [], AUTHORITY).key_of(absent) is None


def test_the_digest_names_all_of_it():
    assert HONEST.digest() == digest("directory-hash", encode(HONEST))
    others = [
        Directory.sign(4, ENTRIES, AUTHORITY),
        Directory.sign(3, ENTRIES[1:], AUTHORITY),
        Directory.sign(3, ENTRIES, OTHER),
    ]
    assert len({d.digest() for d in [HONEST, *others]}) == 4


def altered(**changes):
    return msgspec.structs.replace(HONEST, **changes)


@pytest.mark.parametrize(
    "lie",
    [
        Directory.sign(3, ENTRIES, OTHER),
        altered(epoch=4),
        altered(entries=HONEST.entries[1:]),
        altered(entries=(*HONEST.entries, ("hospital-99", b"\x09" * 32))),
        altered(entries=(("hospital-01", b"\x09" * 32), *HONEST.entries[1:])),
        altered(entries=(("hospital-00", b"\x01" * 32), *HONEST.entries[1:])),
        altered(signature=bytes(64)),
    ],
)
def test_what_the_authority_did_not_sign_is_refused(lie):
    with pytest.raises(PeerError) as caught:
        lie.verify(AUTHORITY.public)
    assert caught.value.reason is Reason.DIRECTORY_SIGNATURE


def test_a_pinned_key_that_is_none_verifies_nothing():
    with pytest.raises(PeerError):
        HONEST.verify(b"")


BAD_ENTRIES = {
    "an id twice": [("a", b"\1" * 32), ("a", b"\2" * 32)],
    "the same entry twice": [("a", b"\1" * 32), ("a", b"\1" * 32)],
    "a key twice": [("a", b"\1" * 32), ("b", b"\1" * 32)],
    "an upper-case id": [("A", b"\1" * 32)],
    "an empty id": [("", b"\1" * 32)],
    "an id with a newline": [("a\n", b"\1" * 32)],
    "a long id": [("a" * 65, b"\1" * 32)],
    "a short key": [("a", b"\1" * 31)],
    "a long key": [("a", b"\1" * 33)],
}
UNSORTED = [("b", b"\2" * 32), ("a", b"\1" * 32)]


def packed(epoch, entries, signature=bytes(64), tag="directory"):
    return msgspec.msgpack.encode([tag, epoch, entries, signature])


def test_the_hand_made_encoding_is_the_real_one():
    assert packed(3, HONEST.entries, HONEST.signature) == encode(HONEST)


@pytest.mark.parametrize("entries", BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_bad_entries_are_refused_everywhere(entries):
    with pytest.raises(ConfigurationError, match="directory: "):
        Directory.sign(1, entries, AUTHORITY)
    with pytest.raises(PeerError) as caught:
        Directory.decode(packed(1, entries))
    assert caught.value.reason is Reason.MALFORMED
    with pytest.raises(ConfigurationError, match="directory: "):
        Directory.from_json(as_text(entries))


def as_text(entries, **changes):
    raw = {
        "schema": "fedprivacy/directory/1",
        "epoch": 1,
        "entries": [{"id": i, "public_key": k.hex()} for i, k in entries],
        "signature": "00" * 64,
    }
    return json.dumps(raw | changes)


def test_entries_out_of_order_are_refused():
    with pytest.raises(PeerError):
        Directory.decode(packed(1, UNSORTED))
    with pytest.raises(ConfigurationError, match="does not come after"):
        Directory.from_json(as_text(UNSORTED))
    assert Directory.sign(1, UNSORTED, AUTHORITY).entries == tuple(sorted(UNSORTED))


@pytest.mark.parametrize("epoch", [0, -1, 2**63, 2**64])
def test_epochs_outside_their_range_are_refused(epoch):
    with pytest.raises(ConfigurationError, match="epoch"):
        Directory.sign(epoch, ENTRIES, AUTHORITY)
    with pytest.raises(ConfigurationError, match="directory"):
        Directory.from_json(as_text(ENTRIES, epoch=epoch))
    if epoch < 2**64:
        with pytest.raises(PeerError):
            Directory.decode(packed(epoch, ENTRIES))


def test_the_largest_directory_fits_its_limit_and_no_larger_one():
    entries = [(f"{i:064}", b"k" + i.to_bytes(31, "big")) for i in range(MAX_ENTRIES + 1)]
    largest = Directory.sign(2**63 - 1, entries[:-1], AUTHORITY)
    assert Directory.decode(encode(largest)) == largest
    with pytest.raises(ConfigurationError, match="at most"):
        Directory.sign(1, entries, AUTHORITY)
    with pytest.raises(PeerError):
        Directory.decode(packed(1, entries))


@settings.get_profile("fuzz")
@given(st.binary(max_size=300))
def test_any_bytes_are_a_peers_error(data):
    with pytest.raises(PeerError):
        Directory.decode(data)


@settings.get_profile("fuzz")
@given(st.data())
def test_a_broken_encoding_is_a_peers_error_or_another_directory(data):
    good = encode(HONEST)
    start = data.draw(st.integers(0, len(good)))
    stop = data.draw(st.integers(start, min(len(good), start + 8)))
    bad = good[:start] + data.draw(st.binary(max_size=8)) + good[stop:]
    try:
        directory = Directory.decode(bad)
    except PeerError:
        return
    assert encode(directory) == bad
    if directory != HONEST:
        with pytest.raises(PeerError):
            directory.verify(AUTHORITY.public)


@settings.get_profile("fuzz")
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.binary(max_size=70)
        | st.text(max_size=10)
        | st.just("directory"),
        lambda inner: st.lists(inner, max_size=5),
        max_leaves=12,
    )
)
def test_any_structure_is_a_peers_error(value):
    for shape in (
        value,
        ["directory", value, value, value],
        ["directory", 1, [[value, value]], b"s" * 64],
    ):
        with pytest.raises(PeerError):
            Directory.decode(msgspec.msgpack.encode(shape))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        as_text(ENTRIES, schema="fedprivacy/directory/2"),
        as_text(ENTRIES, extra=1),
        as_text(ENTRIES, signature="00"),
        as_text(ENTRIES, signature="0G" * 64),
        as_text([]).replace("[]", "{}"),
        as_text([]).replace("[]", '[{"id": "a"}]'),
        "[" * 100_000,
    ],
)
def test_bad_files_are_configuration_errors(text):
    with pytest.raises(ConfigurationError, match="directory: "):
        Directory.from_json(text)


def test_the_message_names_the_place():
    text = as_text(ENTRIES).replace("hospital-02", "Hospital")
    with pytest.raises(ConfigurationError, match=r"\$\.entries\[1\]\.id|\$\.entries\[\.\.\.\]\.id"):
        Directory.from_json(text)


@given(st.text(max_size=60))
def test_any_text_is_a_configuration_error(text):
    with pytest.raises(ConfigurationError):
        Directory.from_json(text)
