"""A plan's report holds exactly what the plan, the cohort and the policy imply."""

import pytest

from fedprivacy.errors import ConfigurationError
from fedprivacy.reporting.plan_report import PlanReport
from fedprivacy.rounds import Guarantee
from fedprivacy.rounds.traffic import download_bytes, upload_bytes
from rounddrive import make_plan, make_policy


def test_the_figures_are_the_plans_own():
    plan = make_plan(min_clients=4)
    report = PlanReport.of(plan, clients=9, length=100, policy=make_policy())
    guarantee = Guarantee.of(plan, 9, 100)
    assert report.guarantee.threshold == plan.quorum(9).threshold
    assert report.guarantee.holds == guarantee.holds()
    assert report.guarantee.does_not_hold == guarantee.does_not_hold()
    assert report.modulus_bits == plan.pipeline(100, 9).modulus_bits(9)
    assert report.upload_bytes_by_phase == upload_bytes(plan, clients=9, length=100)
    assert report.download_bytes_by_phase == download_bytes(plan, clients=9, length=100)
    assert (report.degree, report.min_sum_size) == (8, guarantee.honest_in_sum)
    assert (report.protocol, report.why) == ("secagg", "")
    assert (report.accepted, report.refusal) == (True, "")


def test_a_refusal_is_kept_word_for_word():
    plan = make_plan(min_clients=4)
    report = PlanReport.of(plan, clients=9, length=100, policy=make_policy(floor=5))
    assert report.accepted is False
    assert report.refusal.startswith("plan.aggregation.min_clients = 4 is below your policy's 5")


def test_a_cohort_that_cannot_run_the_plan_is_refused():
    with pytest.raises(ConfigurationError, match="is more than the cohort of 3"):
        PlanReport.of(make_plan(min_clients=4), clients=3, length=1, policy=None)


def test_it_fits_80_columns(text):
    report = PlanReport.of(make_plan(min_clients=4), clients=1000, length=10**9, policy=None)
    printed = text(report.parts())
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= 80
    assert "secagg among 1,000 clients, 1,000,000,000 parameters" in printed
