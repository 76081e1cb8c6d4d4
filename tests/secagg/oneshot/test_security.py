import pytest

from fedprivacy.secagg.oneshot.security import SECURITY_BITS, STANDARD_LIMITS, estimate_primal

TERNARY, STANDARD_ERROR = (2 / 3) ** 0.5, 3.19


@pytest.mark.parametrize(("degree", "bits"), STANDARD_LIMITS.items())
def test_the_estimate_reproduces_every_row_of_the_standard_within_four_bits(degree, bits):
    """Among them 2048/54 and 4096/109; the standard's column for ternary secrets, 128 bits."""
    found = estimate_primal(degree, bits, secret_deviation=TERNARY, error_deviation=STANDARD_ERROR)
    assert abs(found.standard_bits - SECURITY_BITS) <= 4
    assert found.core_svp_bits < found.standard_bits - 25


def test_what_makes_the_problem_harder_raises_the_estimate():
    def bits(degree=2048, modulus=54, secret=TERNARY, error=STANDARD_ERROR):
        return estimate_primal(
            degree, modulus, secret_deviation=secret, error_deviation=error
        ).standard_bits

    assert bits(degree=4096) > bits() > bits(degree=1024)
    assert bits(modulus=50) > bits() > bits(modulus=60)
    assert bits(secret=3.2) > bits() > bits(secret=0.5)
    assert bits(error=10.0) > bits() > bits(error=1.0)


def test_there_is_no_estimate_where_there_is_no_attack():
    with pytest.raises(ValueError, match="no estimate"):
        estimate_primal(64, 3, secret_deviation=3.0, error_deviation=3.0)
