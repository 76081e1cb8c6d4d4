"""`fedprivacy plan`: what holds, what it costs, who accepts it; nothing runs."""

import json

import msgspec

from fedprivacy.reporting.plan_report import PlanReport


def test_a_plan_that_the_policy_accepts(cli, hospitals):
    policy = hospitals / "client.toml"
    done = cli("plan", hospitals / "privacy.toml", "--policy", policy, "--clients", "20")
    assert (done.code, done.err) == (0, "")
    assert "clients that it takes to unmask a sum (threshold)   12" in done.out
    assert "bits of a parameter on its way up (modulus)         27" in done.out
    assert "+ Against a server that may lie in league with up to 2 of 20 clients" in done.out
    assert "- The sum itself is exact" in done.out
    assert done.out.endswith("Your policy accepts this plan.\n")
    assert max(map(len, done.out.splitlines())) <= 80


def test_without_a_policy_nothing_is_said_of_one(cli, hospitals):
    done = cli("plan", hospitals / "privacy.toml")
    assert done.code == 0
    assert "policy" not in done.out
    assert "secagg among 15 clients, 1,000,000 parameters" in done.out


def test_a_refusal_comes_after_the_report(cli, small):
    plan = small / "privacy.toml"
    plan.write_text(plan.read_text("utf-8").replace("min_clients = 10", "min_clients = 9"), "utf-8")
    words = ["plan", plan, "--policy", small / "client.toml", "--clients", "20"]
    refusal = (
        "plan.aggregation.min_clients = 9 is below your policy's 10: ask the operator to raise it"
    )
    done = cli(*words)
    assert done.code == 3
    assert done.out.endswith("Your policy refuses this plan.\n")
    assert done.err == f"fedprivacy: {refusal}\n"
    done = cli(*words, "--json")
    assert done.code == 3
    assert done.err == f"fedprivacy: {refusal}\n"
    report = json.loads(done.out)
    assert (report["accepted"], report["refusal"]) == (False, refusal)


def test_one_document_with_the_same_figures(cli, hospitals):
    done = cli("plan", hospitals / "privacy.toml", "--clients", "20", "--length", "31", "--json")
    report = msgspec.json.decode(done.out, type=PlanReport)
    assert report.to_json() == done.out
    assert (report.guarantee.threshold, report.modulus_bits) == (12, 27)
    assert list(report.upload_bytes) == ["keys", "shares", "input", "consistency", "unmasking"]
    assert report.accepted is None


def test_a_cohort_too_small_for_the_plan_is_refused(cli, hospitals):
    done = cli("plan", hospitals / "privacy.toml", "--clients", "9")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "fedprivacy: plan.aggregation: min_clients 10 is more than the cohort of 9: "
        "enrol more clients\n"
    )


def test_the_guarantee_of_a_plan_without_protection(cli, small):
    plan = small / "privacy.toml"
    text = plan.read_text("utf-8").replace('"secagg"', '"plain"')
    plan.write_text(text.replace('"malicious"', '"honest-but-curious"'), "utf-8")
    done = cli("plan", plan)
    assert done.code == 0
    assert "- Nothing is hidden: the server sees every client's update." in done.out
    assert "+ " not in done.out
