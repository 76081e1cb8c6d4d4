"""`fedprivacy plan`: what holds, what it costs, who accepts it; nothing runs."""

import json

import msgspec
import pytest

from fedprivacy.reporting.plan_report import PlanReport


def test_a_plan_that_the_policy_accepts(cli, hospitals):
    policy = hospitals / "client.toml"
    done = cli("plan", hospitals / "privacy.toml", "--policy", policy, "--clients", "20")
    assert (done.code, done.err) == (0, "")
    assert "neighbours of a client (degree)                      19\n" in done.out
    assert "clients that it takes to unmask a sum (threshold)    12\n" in done.out
    assert "honest clients in any sum, at least (min_sum_size)   10\n" in done.out
    assert "bits of a parameter on its way up (modulus)          29\n" in done.out
    assert "+ Against a server that may lie in league with up to 2 of 20 clients" in done.out
    assert "+ All 10 rounds together are (3.84, 1e-05)-differentially private" in done.out
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
    assert (report.guarantee.threshold, report.modulus_bits) == (12, 29)
    phases = ["keys", "shares", "input", "consistency", "unmasking"]
    assert list(report.upload_bytes_by_phase) == phases
    assert list(report.download_bytes_by_phase) == phases
    assert report.upload_bytes == sum(report.upload_bytes_by_phase.values())
    assert report.download_bytes == sum(report.download_bytes_by_phase.values())
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
    text = plan.read_text("utf-8").replace('"secagg"', '"plain"').partition("[noise]")[0]
    plan.write_text(text.replace('"malicious"', '"honest-but-curious"'), "utf-8")
    done = cli("plan", plan)
    assert done.code == 0
    assert "- Nothing is hidden: the server sees every client's update." in done.out
    assert "+ " not in done.out
    assert "threshold" not in done.out


# ------------------------------------------------------------------ from figures

FIGURES = ("plan", "--clients", "1000", "--dropout", "0.1", "--length", "1000000", "--bits", "16")


def figured(cli, *words):
    done = cli(*FIGURES, *words, "--json")
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def test_figures_lead_to_degree_threshold_and_bytes(cli):
    report = figured(cli, "--corrupt", "0.05", "--adversary", "semi-malicious")
    assert (report["protocol"], report["degree"], report["threshold"]) == ("secagg+", 78, 52)
    # 1,000 values of magnitude 2**15 - 1, and the sign.
    assert report["modulus_bits"] == 26
    assert report["min_sum_size"] == report["guarantee"]["honest_in_sum"] == 27
    assert report["upload_bytes"] == sum(report["upload_bytes_by_phase"].values())
    assert report["upload_bytes"] > 1_000_000 * 26 / 8
    assert min(report["seconds"].values()) > 0
    assert report["why"].startswith("protocol = auto takes secagg+ for 1,000 clients: ")


def test_on_the_complete_graph_everyone_is_a_neighbour(cli):
    report = figured(cli, "--corrupt", "50", "--adversary", "malicious")
    assert (report["protocol"], report["degree"], report["threshold"]) == ("secagg", 999, 526)
    assert report["min_sum_size"] == 526 - 50


def test_a_rate_and_its_count_are_one_plan(cli):
    curious = ("--adversary", "honest-but-curious")
    rate, count = (figured(cli, "--corrupt", c, *curious) for c in ("0.05", "50"))
    assert rate["plan_hash"] == count["plan_hash"]
    assert rate["protocol"] == "secagg+"


@pytest.mark.parametrize("clients", [100, 1_000, 10_000])
@pytest.mark.parametrize("adversary", ["honest-but-curious", "semi-malicious", "malicious"])
def test_a_report_of_figures_fits_80_columns(cli, clients, adversary):
    words = ("--corrupt", clients // 20, "--dropout", "0.1", "--adversary", adversary)
    done = cli("plan", "--clients", clients, *words)
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 80
    assert f"among {clients:,} clients" in done.out


REFUSALS = {
    "": "give a plan's file, or the cohort: --clients N",
    "--clients 9 --policy client.toml": "--policy holds against a plan in a file: name one",
    "--clients 1000 --corrupt 0.05 --adversary malicious": (
        "--corrupt 0.05 is a rate, and a malicious server that picks the cohort can pack it "
        "(5 % of 1,000 enrolled are half of a cohort of 100): give the number of corrupt among "
        "all enrolled, such as --corrupt 50"
    ),
    "--clients 9 --corrupt 1.5": (
        "--corrupt 1.5 is neither a count nor a rate in [0, 1): write 50, say, or 0.05"
    ),
    "--clients 9 --corrupt nan": (
        "--corrupt nan is neither a count nor a rate in [0, 1): write 50, say, or 0.05"
    ),
    "--clients 9 --corrupt 9": (
        "--corrupt 9 of 9 clients leaves no honest one: give fewer, or enrol more clients"
    ),
    "--clients 9 --dropout 1": ("--dropout 1.0 is outside [0, 1): give the share that may be lost"),
    "--clients 9 --adversary evil": (
        "--adversary evil is unknown: choose from honest-but-curious, semi-malicious, malicious"
    ),
    "--clients 9 --protocol secagg+": (
        "plan.aggregation.adversary = malicious is more than secagg+ withstands: choose from "
        "honest-but-curious, semi-malicious, or protocol = secagg"
    ),
    "--clients 8 --corrupt 2 --dropout 0.25 --adversary semi-malicious --protocol secagg+": (
        "no sparse graph serves 8 clients, 2 corrupt and 2 lost: enrol more clients, plan for "
        "fewer losses, or choose protocol = secagg"
    ),
    "--clients 999 --corrupt 0.5 --dropout 0.45 --adversary honest-but-curious "
    "--protocol secagg+": (
        "corrupt + lost = 95% of 999 clients, at most 90% can be withstood: plan for fewer"
    ),
    "--clients 100 --dropout 0.5 --min-clients 60": (
        "plan.aggregation: dropout 0.5 may lose 50 of 100 clients, 60 are needed: at most 40 "
        "may be lost"
    ),
}


@pytest.mark.parametrize(("words", "said"), REFUSALS.items())
def test_each_refusal_is_its_own_and_says_what_would_do(cli, words, said):
    done = cli("plan", *words.split())
    assert (done.code, done.out) == (2, "")
    assert done.err == f"fedprivacy: {said}\n"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--corrupt", "1"),
        ("--dropout", "0.0"),
        ("--adversary", "malicious"),
        ("--bits", "16"),
        ("--min-clients", "9"),
        ("--protocol", "secagg"),
    ],
)
def test_a_figure_beside_a_file_is_refused_by_name(cli, small, flag, value):
    plan = small / "privacy.toml"
    done = cli("plan", plan, flag, value)
    assert done.code == 2
    assert done.err == f"fedprivacy: {flag} has no use with a file: {plan} says it already\n"


def test_an_odd_degree_is_refused_with_the_next_even_one(cli, small):
    plan = small / "privacy.toml"
    text = plan.read_text("utf-8").replace('"secagg"', '"secagg+"\ndegree = 5')
    plan.write_text(text.replace('"malicious"', '"semi-malicious"'), "utf-8")
    done = cli("plan", plan, "--clients", "20")
    assert done.code == 2
    assert done.err == (
        "fedprivacy: plan.aggregation: degree 5 is not even and at least 2: take 6, or leave it "
        "out\n"
    )


def test_a_policy_is_held_against_the_protocol_that_was_taken(cli, small):
    plan = small / "privacy.toml"
    text = plan.read_text("utf-8").replace('"secagg"', '"auto"')
    plan.write_text(text, "utf-8")
    words = ("plan", plan, "--policy", small / "client.toml", "--clients", "20")
    done = cli(*words)
    assert done.code == 0
    assert done.out.endswith("Your policy accepts this plan.\n")
    plan.write_text(text.replace('"malicious"', '"semi-malicious"'), "utf-8")
    done = cli(*words)
    assert done.code == 3
    assert "secagg+ among 20 clients" in done.out
    assert done.out.endswith("Your policy refuses this plan.\n")
