"""The file by which clients know an authority."""

import pytest

from fedprivacy.crypto import Authority, Enrolment, Identity
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng

IDENTITY = Identity.new("consortium", rng=InsecureTestRng(1))


def test_the_text_brings_name_and_key_back():
    authority = Authority.of(IDENTITY)
    assert authority.public_key == IDENTITY.key.public
    assert Authority.from_json(authority.to_json()) == authority


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "authority: "),
        (Enrolment.request(IDENTITY), "authority: "),
        ('{"schema": "fedprivacy/authority/1", "name": "x", "public_key": "00"}', "public_key"),
        ("[" * 100_000, "authority: "),
    ],
)
def test_anything_else_is_refused(text, said):
    with pytest.raises(ConfigurationError, match=said):
        Authority.from_json(text)
