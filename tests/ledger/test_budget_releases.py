import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.dp.events import (
    DiscreteGaussianEvent,
    DistributedDiscreteGaussianEvent,
    GaussianEvent,
    Release,
    Sample,
    SampleSecrecy,
    Sampling,
    SkellamEvent,
)
from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger import PrivacyEvent, Spend
from fedprivacy.ledger.budget_releases import release_of, spend_of

positive = st.floats(1e-3, 1e9)
extra = st.floats(0, 0.5)
whole = st.integers(1, 1 << 40)
events = st.one_of(
    st.builds(GaussianEvent, positive, delta_extra=extra),
    st.builds(DiscreteGaussianEvent, positive, positive, delta_extra=extra),
    st.builds(
        DistributedDiscreteGaussianEvent,
        positive,
        positive,
        whole,
        st.floats(4.0, 1e9),
        whole,
        delta_extra=extra,
    ),
    st.builds(SkellamEvent, positive, positive, positive, delta_extra=extra),
)
secrecies = st.sampled_from(SampleSecrecy)
samples = st.just(Sample()) | st.builds(
    Sample,
    st.sampled_from([scheme for scheme in Sampling if scheme is not Sampling.ALL]),
    st.floats(1e-6, 1.0),
    secrecies,
)
releases = st.builds(Release, events, samples, whole)


@given(releases)
def test_a_release_is_read_as_it_was_kept(release):
    assert release_of(spend_of(release)) == release


@given(releases, releases)
def test_two_releases_are_kept_as_one_only_if_they_are_one(one, other):
    assert (spend_of(one) == spend_of(other)) == (one == other)


def test_the_kept_form_is_fixed():
    # Ledgers are read for years: what this test holds must not change.
    sample = Sample(Sampling.POISSON, 0.01, SampleSecrecy.SEEN)
    kept = spend_of(Release(SkellamEvent(2.0, 3.0, 40.0), sample, 7))
    assert kept == Spend(
        PrivacyEvent(
            "skellam/poisson/seen",
            (
                ("delta_extra", 0.0),
                ("l1", 3.0),
                ("l2", 2.0),
                ("sample_rate", 0.01),
                ("variance", 40.0),
            ),
        ),
        7,
    )


GAUSSIAN = {"noise_multiplier": 1.0, "delta_extra": 0.0, "sample_rate": 1.0}
SHARES = {"l2": 1.0, "l1": 1.0, "dimension": 2.0, "local_variance": 9.0, "shares": 3.0}


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("laplace/all/seen", GAUSSIAN),
        ("gaussian", GAUSSIAN),
        ("gaussian/all", GAUSSIAN),
        ("gaussian/all/seen/more", GAUSSIAN),
        ("gaussian/some/seen", GAUSSIAN),
        ("gaussian/all/perhaps", GAUSSIAN),
        ("gaussian/all/seen", {**GAUSSIAN, "more": 1.0}),
        ("gaussian/all/seen", {"noise_multiplier": 1.0, "delta_extra": 0.0}),
        ("gaussian/all/seen", {"delta_extra": 0.0, "sample_rate": 1.0}),
        ("skellam/all/seen", GAUSSIAN),
        (
            "distributed-discrete-gaussian/all/seen",
            {**SHARES, "delta_extra": 0.0, "sample_rate": 1.0, "shares": 2.5},
        ),
    ],
)
def test_what_another_kept_is_not_guessed(name, numbers):
    with pytest.raises(ConfigurationError, match=r"^event = .* is unknown: account"):
        release_of(Spend(PrivacyEvent.of(name, **numbers)))


def test_numbers_that_no_mechanism_has_are_refused():
    kept = Spend(PrivacyEvent.of("gaussian/all/seen", **{**GAUSSIAN, "noise_multiplier": 0.0}))
    with pytest.raises(ConfigurationError, match="noise_multiplier"):
        release_of(kept)
