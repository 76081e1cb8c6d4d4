"""The draft of a directory: requests go in, contradictions are refused, it is signed."""

import pytest

from fedprivacy.crypto import DirectoryDraft, Enrolment, Identity, SigningKey
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng

RNG = InsecureTestRng(1)
AUTHORITY = SigningKey.from_seed(RNG.bytes(32))


def enrolment(name):
    identity = Identity.new(name, rng=RNG.child(name))
    return Enrolment.parse(Enrolment.request(identity))


def test_a_draft_becomes_a_directory_of_its_entries():
    draft = DirectoryDraft()
    for name in ("b", "a", "c"):
        draft = draft.add(enrolment(name))
    directory = draft.sign(3, AUTHORITY)
    directory.verify(AUTHORITY.public)
    assert directory.epoch == 3
    assert directory.entries == draft.entries
    assert [name for name, _ in draft.entries] == ["a", "b", "c"]


def test_the_text_brings_the_draft_back():
    draft = DirectoryDraft().add(enrolment("a")).add(enrolment("b"))
    assert DirectoryDraft.from_json(draft.to_json()) == draft


def test_the_same_request_twice_is_no_change():
    draft = DirectoryDraft().add(enrolment("a"))
    assert draft.add(enrolment("a")) is draft


def test_an_id_with_another_key_is_refused():
    draft = DirectoryDraft().add(enrolment("a"))
    with pytest.raises(ConfigurationError, match="take that entry out first"):
        draft.add(Enrolment("a", bytes(32)))


def test_a_key_with_another_id_is_refused():
    draft = DirectoryDraft().add(enrolment("a"))
    with pytest.raises(ConfigurationError, match="the key of b is that of a already"):
        draft.add(Enrolment("b", enrolment("a").public_key))


def test_an_empty_draft_is_not_signed():
    with pytest.raises(ConfigurationError, match="the draft is empty"):
        DirectoryDraft().sign(1, AUTHORITY)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "draft: "),
        ("[]", "draft: "),
        ('{"schema": "fedprivacy/directory/1", "entries": []}', r"\$.schema"),
        (
            '{"schema": "fedprivacy/directory-draft/1", "entries": [], "more": 1}',
            "unknown field `more`",
        ),
        (
            '{"schema": "fedprivacy/directory-draft/1","entries": [{"id": "A", "public_key": ""}]}',
            r"\$.entries\[0\].id",
        ),
        ("[" * 100_000, "draft: "),
    ],
)
def test_anything_else_is_refused_with_its_place(text, said):
    with pytest.raises(ConfigurationError, match=said):
        DirectoryDraft.from_json(text)


def test_an_edited_draft_with_an_id_twice_is_not_signed():
    keys = [enrolment(name).public_key for name in ("a", "b")]
    draft = DirectoryDraft(tuple(("a", key) for key in sorted(keys)))
    with pytest.raises(ConfigurationError, match="'a' does not come after 'a'"):
        draft.sign(1, AUTHORITY)
