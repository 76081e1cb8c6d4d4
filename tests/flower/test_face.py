"""What users import, and what they read where Flower is not installed."""

import pytest

import fedprivacy.flower
from fedprivacy.errors import MissingExtra


def test_the_names_are_the_published_ones():
    assert dir(fedprivacy.flower) == [
        "PrivateStrategy",
        "histogram_reply",
        "privacy_mod",
        "secure_histogram",
        "secure_mean",
        "secure_quantile",
        "secure_sum",
        "unit_reply",
        "vector_reply",
    ]
    for name in fedprivacy.flower.__all__:
        assert getattr(fedprivacy.flower, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = fedprivacy.flower.Nothing


def test_without_flower_one_line_names_the_command(monkeypatch):
    monkeypatch.delitem(vars(fedprivacy.flower), "privacy_mod", raising=False)
    monkeypatch.setattr(fedprivacy.flower, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'fedprivacy\[flower\]'"):
        _ = fedprivacy.flower.privacy_mod
